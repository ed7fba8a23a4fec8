rule fragment:
    input:
        sheet=config["training"],
        fasta=sorted(set(training["fasta"])),
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
        version=__version__,
    shell:
        "python -m virnucpro fragment {input.sheet:q} {output.fasta:q} {output.table:q} --bases {params.bases}"
        " --seed {params.seed} 2>&1 | tee {log:q} >&2"


rule train:
    input:
        sheet=config["training"],
        fragments=f"{OUT}/training/fragments.tsv",
        embeddings=f"{OUT}/training/embeddings.h5",
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
        chunk_size=config["chunk_size"],
        short_chunks=config["short_chunks"],
        seed=config["seed"],
        version=__version__,
    shell:
        "python -m virnucpro train {params.folder:q} {input.sheet:q} {params.output:q} --chunk-size {params.chunk_size}"
        " --short-chunks {params.short_chunks} --seed {params.seed} 2>&1 | tee {log:q} >&2"
