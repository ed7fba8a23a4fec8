rule merge:
    input:
        table=ancient(f"{OUT}/{{sample}}/prepared/proteins.tsv"),
        prepared=ancient(f"{OUT}/{{sample}}/prepared/provenance.json"),
        duplicates=ancient(f"{OUT}/{{sample}}/duplicates.tsv"),
        packed=ancient(f"{OUT}/{{sample}}/manifests.provenance.json"),
        shards=embedded_shards_of(".h5"),
        provenance=embedded_shards_of(".json"),
        stale=stale,
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
