rule merge:
    input:
        reads(
            "merge",
            "{sample}/prepared/proteins.tsv",
            "{sample}/prepared/provenance.json",
            "{sample}/duplicates.tsv",
            "{sample}/manifests.provenance.json",
            records_before,
        ),
        shards=reads("merge", shards_of),
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
    shell:
        "python -m virnucpro merge {params.folder:q} --settings {params.settings:q} 2>&1 | tee {log:q} >&2"
