rule merge:
    input:
        table=f"{WORK}/{{sample}}/prepared/proteins.tsv",
        prepared=f"{WORK}/{{sample}}/prepare.json",
        duplicates=f"{WORK}/{{sample}}/duplicates{{encoder}}.tsv",
        screened=f"{WORK}/{{sample}}/screened.tsv",
        packed=f"{WORK}/{{sample}}/pack{{encoder}}.json",
        shards=shards_of,
    output:
        embeddings=f"{OUT}/{{sample}}/embeddings{{encoder}}.h5",
        record=f"{WORK}/{{sample}}/merge{{encoder}}.json",
    log:
        f"{LOGS}/{{sample}}/merge{{encoder}}.log",
    group:
        group("merge")
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(1500, 30),
        runtime=growing(5, 0.5),
    params:
        key=key("merge"),
    shell:
        VIRNUCPRO
        + " merge $(dirname {output.record:q}) {output.embeddings:q} --encoder '{wildcards.encoder}'"
        " --key {params.key} 2>&1 | tee {log:q} >&2"
