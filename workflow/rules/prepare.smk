rule prepare:
    input:
        lambda wildcards: samples.loc[wildcards.sample, "fasta"],
    output:
        chunks=f"{OUT}/{{sample}}/prepared/chunks.fna",
        nucleotides=f"{OUT}/{{sample}}/prepared/frames.fna",
        proteins=f"{OUT}/{{sample}}/prepared/frames.faa",
        contigs=f"{OUT}/{{sample}}/prepared/contigs.tsv",
    log:
        f"{LOGS}/{{sample}}/prepare.log",
    conda:
        "../../envs/virnucpro.yaml"
    params:
        folder=subpath(output.proteins, parent=True),
        chunk_size=config["chunk_size"],
        version=__version__,
    shell:
        "virnucpro prepare {input:q} {params.folder:q} --chunk-size {params.chunk_size} 2>&1 | tee {log:q} >&2"
