rule call:
    input:
        unpack(
            inputs(
                "call",
                embeddings="{sample}/embeddings.h5",
                nucleotides=of_nucleotides("embeddings.h5"),
                packed="{sample}/duplicates.tsv",
                fasta=fasta_of,
                classifier=lambda wildcards: [CLASSIFIER],
            )
        ),
    output:
        contigs=report(
            f"{OUT}/{{sample}}/contigs.tsv",
            caption="../report/contigs.rst",
            category="Calls",
            labels={"sample": "{sample}"},
        ),
        genes=f"{OUT}/{{sample}}/genes.tsv",
        proteins=f"{OUT}/{{sample}}/genes.faa",
        features=f"{OUT}/{{sample}}/genes.gff3",
        regions=f"{OUT}/{{sample}}/regions.tsv",
        viral=f"{OUT}/{{sample}}/viral.fasta.gz",
    log:
        f"{LOGS}/{{sample}}/call.log",
    group:
        group_of("merge")
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 3),
        runtime=growing(30, 0.1),
    params:
        folder=subpath(output.contigs, parent=True),
        prior=config["prior"],
        min_length=config["min_length"],
        chunk_scores="--chunk-scores" if config["chunk_scores"] else "",
    shell:
        "python -m virnucpro call {input.fasta:q} {params.folder:q} --classifier {input.classifier:q}"
        " --prior {params.prior} --min-length {params.min_length} {params.chunk_scores}"
        " --sample {wildcards.sample} 2>&1 | tee {log:q} >&2"
