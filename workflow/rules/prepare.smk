rule prepare:
    input:
        lambda wildcards: samples.loc[wildcards.sample, "fasta"],
    output:
        proteins=f"{OUT}/{{sample}}/prepared/proteins.faa",
        records=f"{OUT}/{{sample}}/prepared/records.tsv",
        source=f"{OUT}/{{sample}}/prepared/input.json",
    log:
        f"{LOGS}/{{sample}}/prepare.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 1),
        runtime=growing(30, 0.01),
    params:
        folder=subpath(output.proteins, parent=True),
        type=lambda wildcards: samples.loc[wildcards.sample, "type"],
        chunk_size=config["chunk_size"],
        version=__version__,
    shell:
        "python -m virnucpro prepare {input:q} {params.folder:q} --sample {wildcards.sample} --type {params.type}"
        " --chunk-size {params.chunk_size} 2>&1 | tee {log:q} >&2"
