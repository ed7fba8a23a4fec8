rule prepare:
    input:
        fasta=fasta_of,
        circles=circles_of,
        genes=genes_of,
        screen=lambda wildcards: outside(PLAN.screen(wildcards.sample)),
        budgets=encoders(f"{WORK}/token_budget{{encoder}}.json"),
    output:
        proteins=f"{WORK}/{{sample}}/prepared/proteins.faa",
        table=f"{WORK}/{{sample}}/prepared/proteins.tsv",
        records=f"{WORK}/{{sample}}/prepared/records.tsv",
        frames=(
            multiext(f"{WORK}/{{sample}}/prepared/", "chunks.fna", "nucleotides.fna")
            if config["proteins"] == "frames"
            else []
        ),
        record=f"{WORK}/{{sample}}/prepare.json",
        manifests=[
            directory(path)
            for path in encoders(f"{WORK}/{{sample}}/manifests{{encoder}}")
        ],
        duplicates=encoders(f"{WORK}/{{sample}}/duplicates{{encoder}}.tsv"),
        screened=f"{WORK}/{{sample}}/screened.tsv",
        packed=encoders(f"{WORK}/{{sample}}/pack{{encoder}}.json"),
    log:
        f"{LOGS}/{{sample}}/prepare.log",
    priority: 1  # before other jobs, so that a device does not wait for embed's input
    group:
        group("prepare")
    conda:
        "../../envs/virnucpro.yaml"
    threads: prepare_threads
    resources:
        mem_mb=growing(1500, 30),
        runtime=growing(5, 1),
    params:
        settings=lambda wildcards: [
            PLAN.options("prepare", wildcards.sample),
            *(PLAN.options("pack", wildcards.sample, e) for e in PLAN.encoders),
            PLAN.files("prepare", wildcards.sample),
        ],
        key=key("prepare"),
        command=prepare_command,
    shell:
        VIRNUCPRO + " {params.command} 2>&1 | tee {log:q} >&2"
