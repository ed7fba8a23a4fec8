rule merge:
    input:
        proteins=f"{OUT}/{{sample}}/prepared/proteins.faa",
        duplicates=f"{OUT}/{{sample}}/duplicates.tsv",
        windows=f"{OUT}/{{sample}}/windows.tsv",
        shards=shards_of,
    output:
        f"{OUT}/{{sample}}/embeddings.h5",
    log:
        f"{LOGS}/{{sample}}/merge.log",
    conda:
        "../../envs/virnucpro.yaml"
    params:
        version=__version__,
    shell:
        "python -m virnucpro merge {input.proteins:q} {input.duplicates:q} {input.windows:q} {output:q}"
        " {input.shards:q} 2>&1 | tee {log:q} >&2"
