rule fetch_model:
    input:
        weights=lambda wildcards: outside(
            local_checkpoint(PLAN.models[wildcards.encoder])
        ),
    output:
        f"{WORK}/model{{encoder}}.json",
    log:
        f"{LOGS}/fetch_model{{encoder}}.log",
    localrule: True
    conda:
        "../../envs/virnucpro.yaml"
    params:
        name=lambda wildcards, output: PLAN.models[wildcards.encoder],
        options=lambda wildcards: PLAN.options("fetch_model", "", wildcards.encoder),
        model=lambda wildcards: PLAN.files("fetch_model", "", wildcards.encoder),
        key=key("fetch_model"),
    shell:
        VIRNUCPRO
        + " fetch-model {params.name:q} --output {output:q} {params.options} 2>&1 | tee {log:q} >&2"


rule token_budget:
    input:
        f"{WORK}/model{{encoder}}.json",
    output:
        f"{WORK}/token_budget{{encoder}}.json",
    log:
        f"{LOGS}/token_budget{{encoder}}.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        gpu=1,
        mem_mb=model_mem_mb,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        device=lambda wildcards, output: config["device"],
        precision=lambda wildcards, output: config["precision"],  # auto: only a node may have a GPU
        options=PLAN.options("token_budget"),
        kind=PLAN.files("token_budget"),
        key=key("token_budget"),
    shell:
        VIRNUCPRO
        + " token-budget {input:q} {output:q} {params.options} --device {params.device}"
        " --precision {params.precision}"
        " 2>&1 | tee {log:q} >&2"
