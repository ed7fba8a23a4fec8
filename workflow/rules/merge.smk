rule merge:
    input:
        f"{OUT}/{{sample}}/prepared/proteins.faa",
        f"{OUT}/{{sample}}/duplicates.tsv",
        f"{OUT}/{{sample}}/windows.tsv",
        budget=f"{OUT}/token_budget.json",
        shards=shards_of,
    output:
        embeddings=f"{OUT}/{{sample}}/embeddings.h5",
        provenance=f"{OUT}/{{sample}}/embeddings.provenance.json",
    log:
        f"{LOGS}/{{sample}}/merge.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 10),
        runtime=growing(30, 0.01),
    params:
        folder=subpath(output.embeddings, parent=True),
        settings=json.dumps(SETTINGS),
        version=__version__,
    shell:
        "python -m virnucpro merge {params.folder:q} {input.budget:q} {output.embeddings:q} {input.shards:q}"
        " --settings {params.settings:q} 2>&1 | tee {log:q} >&2"
