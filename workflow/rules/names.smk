rule references:
    input:
        files=[outside(path) for path in PLAN.references],
    output:
        references=f"{WORK}/references.npz",
        record=f"{WORK}/references.json",
    log:
        f"{LOGS}/references.log",
    conda:
        "../../envs/virnucpro.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        folder=lambda wildcards, output: config["references"],
        data=PLAN.files("references"),
        key=key("references"),
    shell:
        VIRNUCPRO
        + " references {params.folder:q} {output.references:q} --threads {threads} --key {params.key}"
        " 2>&1 | tee {log:q} >&2"
