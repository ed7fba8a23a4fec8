rule fragment:
    input:
        unpack(
            inputs(
                "fragment",
                sheet=lambda wildcards: [config["training"]],
                fasta=lambda wildcards: sorted(set(training["fasta"])),
            )
        ),
    output:
        fasta=f"{OUT}/training/fragments.fna.gz",
        table=f"{OUT}/training/fragments.tsv",
    log:
        f"{LOGS}/training/fragment.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        bases=config["training_bases"],
        seed=config["seed"],
    shell:
        "python -m virnucpro fragment {input.sheet:q} {output.fasta:q} {output.table:q} --bases {params.bases}"
        " --seed {params.seed} 2>&1 | tee {log:q} >&2"


rule train:
    input:
        unpack(
            inputs(
                "train",
                fragments="training/fragments.fna.gz",
                packed="training/duplicates.tsv",
                embeddings="training/embeddings.h5",
                nucleotides=lambda wildcards: (
                    [f"{OUT}/training/{NUCLEOTIDES}/embeddings.h5"]
                    if "nucleotide_model" in config
                    else []
                ),
                sheet=lambda wildcards: [config["training"]],
            )
        ),
    output:
        classifier=f"{OUT}/training/classifier/classifier.safetensors",
        card=report(
            f"{OUT}/training/classifier/model_card.md",
            caption="../report/model_card.rst",
            category="Training",
        ),
        picture=report(
            f"{OUT}/training/classifier/evaluation.svg",
            caption="../report/evaluation.rst",
            category="Training",
        ),
        metrics=f"{OUT}/training/classifier/metrics.json",
        scores=f"{OUT}/training/classifier/scores.tsv",
    log:
        f"{LOGS}/training/train.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=16000,
        runtime=120,
    params:
        folder=f"{OUT}/training",
        output=subpath(output.classifier, parent=True),
        seed=config["seed"],
        nucleotides="--nucleotides" if "nucleotide_model" in config else "",
    shell:
        "python -m virnucpro train {params.folder:q} {input.sheet:q} {params.output:q} --seed {params.seed} {params.nucleotides}"
        " 2>&1 | tee {log:q} >&2"
