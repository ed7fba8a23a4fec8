rule fetch_model:
    input:
        outside("fetch_model", *([checkpoint_file] if checkpoint_file else [])),
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
        model=reads("token_budget", "model.json"),
        fetched=reads("token_budget", "model.provenance.json"),
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
        "python -m virnucpro token-budget {input.model:q} {output.budget:q} --model {params.model:q}"
        " --precision {params.precision} --token-budget {params.budget} --device {params.device} 2>&1 | tee {log:q} >&2"
