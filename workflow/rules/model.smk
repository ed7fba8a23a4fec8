rule fetch_model:
    input:
        unpack(
            inputs(
                "fetch_model",
                weights=lambda wildcards: [checkpoint_file] if checkpoint_file else [],
            )
        ),
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
        for_nucleotides="",
    shell:
        "python -m virnucpro fetch-model {params.model:q} --output {output:q} --layers {params.layers} {params.for_nucleotides}"
        " 2>&1 | tee {log:q} >&2"


rule token_budget:
    input:
        unpack(inputs("token_budget", model="model.json")),
    output:
        f"{OUT}/token_budget.json",
    log:
        f"{LOGS}/token_budget.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        gpu=1,
        mem_mb=gpu_mem_mb(OUT),
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        precision=config["precision"],
        device=config["device"],
        budget=config["token_budget"],
    shell:
        "python -m virnucpro token-budget {input.model:q} {output:q} --precision {params.precision}"
        " --token-budget {params.budget} --device {params.device} 2>&1 | tee {log:q} >&2"
