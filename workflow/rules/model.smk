rule fetch_model:
    input:
        ancient(checkpoint_file) if checkpoint_file else [],
        stale=stale,
    output:
        model=f"{OUT}/model.json",
        provenance=f"{OUT}/model.provenance.json",
    log:
        f"{LOGS}/fetch_model.log",
    localrule: True
    conda:
        "../../envs/virnucpro.yaml"
    params:
        model=config["model"],
        layers=config["layers"],
    shell:
        "python -m virnucpro fetch-model {params.model:q} --output {output.model:q} --layers {params.layers}"
        " 2>&1 | tee {log:q} >&2"


rule token_budget:
    input:
        ancient(f"{OUT}/model.json"),
        ancient(f"{OUT}/model.provenance.json"),
        stale=stale,
    output:
        budget=f"{OUT}/token_budget.json",
        provenance=f"{OUT}/token_budget.provenance.json",
    log:
        f"{LOGS}/token_budget.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        gpu=1,
        mem_mb=gpu_mem_mb,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        model=config["model"],
        precision=config["precision"],
        device=config["device"],
        budget=config["token_budget"],
    shell:
        "python -m virnucpro token-budget {input[0]:q} {output.budget:q} --model {params.model:q}"
        " --precision {params.precision} --token-budget {params.budget} --device {params.device} 2>&1 | tee {log:q} >&2"
