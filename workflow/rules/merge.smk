rule merge:
    input:
        proteins=f"{OUT}/{{sample}}/prepared/frames.faa",
        duplicates=f"{OUT}/{{sample}}/duplicates.tsv",
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
        "virnucpro merge {input.proteins:q} {input.duplicates:q} {output:q} {input.shards:q} 2>&1 | tee {log:q} >&2"
