rule call:
    input:
        fasta=fasta_of,
        embeddings=f"{OUT}/{{sample}}/embeddings.h5",
        classifier=CLASSIFIER,
    output:
        contigs=f"{OUT}/{{sample}}/contigs.tsv",
        frames=f"{OUT}/{{sample}}/frames.tsv",
        viral=f"{OUT}/{{sample}}/viral.fasta.gz",
    log:
        f"{LOGS}/{{sample}}/call.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 3),
        runtime=growing(30, 0.1),
    params:
        folder=subpath(output.contigs, parent=True),
        version=__version__,
    shell:
        "python -m virnucpro call {input.fasta:q} {params.folder:q} --classifier {input.classifier:q}"
        " --sample {wildcards.sample} 2>&1 | tee {log:q} >&2"
