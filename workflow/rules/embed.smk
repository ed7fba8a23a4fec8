rule embed:
    input:
        proteins=reads("embed", "{sample}/prepared/proteins.faa"),
        manifests=reads("embed", "{sample}/manifests"),
        packed=reads("embed", "{sample}/manifests.provenance.json"),
        before=reads("embed", records_before),
        model=reads("embed", "model.json"),  # its size says how much memory to ask for
        budget=reads("embed", "token_budget.json"),  # its device says how many threads
    output:
        embeddings=f"{OUT}/{{sample}}/shards/{{shard}}.h5",
        provenance=f"{OUT}/{{sample}}/shards/{{shard}}.json",
    log:
        f"{LOGS}/{{sample}}/embed_{{shard}}.log",
    priority: 1  # a device waits for nothing that can wait
    conda:
        "../../envs/virnucpro.yaml"
    threads: embed_threads
    resources:
        gpu=1,
        mem_mb=gpu_mem_mb,
        runtime=embed_minutes,
    params:
        model=config["model"],
        device=config["device"],
        per_residue="--per-residue" if config["per_residue"] else "",
        compile="--compile" if config["compile"] else "",
    shell:
        "python -m virnucpro embed {input.manifests:q}/{wildcards.shard}.json {input.proteins:q} {output.embeddings:q}"
        " --model {params.model:q} {params.per_residue} {params.compile} --device {params.device} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
