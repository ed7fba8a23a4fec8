rule fetch_model:
    input:
        checkpoint_file or [],
    output:
        f"{OUT}/model.json",
    log:
        f"{LOGS}/fetch_model.log",
    localrule: True
    conda:
        "../../envs/virnucpro.yaml"
    params:
        model=config["model"],
        layers=config["layers"],
        version=__version__,
    shell:
        "python -m virnucpro fetch-model {params.model:q} --output {output:q} --layers {params.layers} 2>&1 | tee {log:q} >&2"


rule token_budget:
    input:
        f"{OUT}/model.json",
    output:
        f"{OUT}/token_budget.json",
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
        version=__version__,
    shell:
        "python -m virnucpro token-budget {input:q} {output:q} --model {params.model:q} --precision {params.precision}"
        " --token-budget {params.budget} --device {params.device} 2>&1 | tee {log:q} >&2"
