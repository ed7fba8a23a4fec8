rule embed:
    input:
        # Snakemake does not compare the content of folders; the record beside it has digests.
        manifests=ancient(f"{WORK}/{{sample}}/manifests{{encoder}}"),
        packed=f"{WORK}/{{sample}}/pack{{encoder}}.json",
        letters=lambda wildcards: (
            f"{WORK}/{wildcards.sample}/prepared/{LETTERS[wildcards.encoder]}"
        ),
        # No job reads it. It is missing after a run over genes; Snakemake then does not compare parameters of prepare.
        frames=(
            f"{WORK}/{{sample}}/prepared/chunks.fna"
            if config["proteins"] == "frames"
            else []
        ),
        budget=f"{WORK}/token_budget{{encoder}}.json",  # its device decides the number of threads
        weights=lambda wildcards: outside(
            local_checkpoint(PLAN.models[wildcards.encoder])
        ),
    output:
        embeddings=f"{WORK}/{{sample}}/shards{{encoder}}/{{shard}}.h5",
        record=f"{WORK}/{{sample}}/shards{{encoder}}/{{shard}}.json",
    log:
        f"{LOGS}/{{sample}}/embed{{encoder}}_{{shard}}.log",
    priority: 1
    group:
        group("embed")
    conda:
        "../../envs/virnucpro.yaml"
    threads: embed_threads
    resources:
        gpu=1,
        mem_mb=model_mem_mb,
        runtime=embed_minutes,
    params:
        options=lambda wildcards: PLAN.options("embed", encoder=wildcards.encoder),
        key=key("embed"),
        command=embed_command,  # depends on output, so Snakemake does not compare it: it does not change the result
    shell:
        VIRNUCPRO
        + " {params.command} {params.options} --threads {threads} 2>&1 | tee {log:q} >&2"
