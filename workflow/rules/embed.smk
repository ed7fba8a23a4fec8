rule embed:
    input:
        # The model's size says how much memory to ask for, the budget's device how many threads.
        unpack(
            inputs(
                "embed",
                packed="{sample}/duplicates.tsv",
                model="model.json",
                budget="token_budget.json",
            )
        ),
    output:
        f"{OUT}/{{sample}}/shards/{{shard}}.h5",
    log:
        f"{LOGS}/{{sample}}/embed_{{shard}}.log",
    priority: 1  # a device waits for nothing that can wait
    group:
        group_of("embed")
    conda:
        "../../envs/virnucpro.yaml"
    threads: embed_threads(OUT)
    resources:
        gpu=1,
        mem_mb=gpu_mem_mb(OUT),
        runtime=embed_minutes(OUT),
    params:
        folder=f"{OUT}/{{sample}}",
        letters=f"{OUT}/{{sample}}/prepared/proteins.faa",
        model=config["model"],
        device=config["device"],
        per_residue="--per-residue" if config["per_residue"] else "",
        compile="--compile" if config["compile"] else "",
    shell:
        "python -m virnucpro embed {params.folder:q}/manifests/{wildcards.shard}.json {params.letters:q} {output:q}"
        " --model {params.model:q} {params.per_residue} {params.compile} --device {params.device} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
