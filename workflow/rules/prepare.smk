rule prepare:
    input:
        fasta=fasta_of("prepare"),
    output:
        proteins=f"{OUT}/{{sample}}/prepared/proteins.faa",
        table=f"{OUT}/{{sample}}/prepared/proteins.tsv",
        records=f"{OUT}/{{sample}}/prepared/records.tsv",
        provenance=f"{OUT}/{{sample}}/prepared/provenance.json",
    log:
        f"{LOGS}/{{sample}}/prepare.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 1),
        runtime=growing(30, 0.01),
    params:
        folder=subpath(output.proteins, parent=True),
        type=type_of,
        orientation=PLAN.orientation,
        chunk_size=config["chunk_size"],
        short_chunks=config["short_chunks"],
        genetic_codes=config["genetic_codes"],
    shell:
        "python -m virnucpro prepare {input.fasta:q} {params.folder:q} --sample {wildcards.sample} --type {params.type}"
        " --orientation {params.orientation} --chunk-size {params.chunk_size} --short-chunks {params.short_chunks}"
        " --genetic-codes {params.genetic_codes} 2>&1 | tee {log:q} >&2"
