rule merge:
    input:
        unpack(
            inputs(
                "merge",
                packed="{sample}/duplicates.tsv",
                shards=shards_of,
                packed_nucleotides=of_nucleotides("duplicates.tsv"),
                nucleotides=nucleotide_shards_of,
            )
        ),
    output:
        f"{OUT}/{{sample}}/embeddings.h5",
        *(
            [f"{OUT}/{{sample}}/{NUCLEOTIDES}/embeddings.h5"]
            if "nucleotide_model" in config
            else []
        ),
    log:
        f"{LOGS}/{{sample}}/merge.log",
    group:
        group_of("merge")
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 10),
        runtime=growing(30, 0.01),
    params:
        folder=subpath(output[0], parent=True),
        settings=json.dumps(SETTINGS),
        nucleotides=merge_nucleotides_command,
    shell:
        "python -m virnucpro merge {params.folder:q} --settings {params.settings:q} {params.nucleotides}"
        " 2>&1 | tee {log:q} >&2"
