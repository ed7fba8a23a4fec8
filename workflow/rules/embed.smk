rule embed:
    input:
        manifest=f"{OUT}/{{sample}}/manifests/{{shard}}.json",
        # The manifest holds the digests of its sequences, so it is what decides whether to run again.
        proteins=ancient(f"{OUT}/{{sample}}/prepared/proteins.faa"),
        model=ancient(f"{OUT}/model.json"),  # its size says how much memory to ask for
    output:
        embeddings=f"{OUT}/{{sample}}/shards/{{shard}}.h5",
        speed=f"{OUT}/{{sample}}/shards/{{shard}}.json",
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
        layers=config["layers"],
        device=config["device"],
        per_residue="--per-residue" if config["per_residue"] else "",
        compile="--compile" if config["compile"] else "",
        version=__version__,
    shell:
        "python -m virnucpro embed {input.manifest:q} {input.proteins:q} {output.embeddings:q} --model {params.model:q}"
        " --layers {params.layers} {params.per_residue} {params.compile} --device {params.device} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
