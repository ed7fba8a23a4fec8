rule fragment:
    input:
        sheet=ancient(config["training"]),
        fasta=ancient(sorted(set(training["fasta"]))),
        stale=stale_training,
    output:
        fasta=f"{OUT}/training/fragments.fna.gz",
        table=f"{OUT}/training/fragments.tsv",
        provenance=f"{OUT}/training/fragments.provenance.json",
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
        sheet=ancient(config["training"]),
        fasta=ancient(f"{OUT}/training/fragments.fna.gz"),
        fragments=ancient(f"{OUT}/training/fragments.tsv"),
        fragmented=ancient(f"{OUT}/training/fragments.provenance.json"),
        table=ancient(f"{OUT}/training/prepared/proteins.tsv"),
        prepared=ancient(f"{OUT}/training/prepared/provenance.json"),
        embeddings=ancient(f"{OUT}/training/embeddings.h5"),
        merged=ancient(f"{OUT}/training/embeddings.provenance.json"),
        stale=stale_training,
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
        provenance=f"{OUT}/training/classifier/provenance.json",
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
    shell:
        "python -m virnucpro train {params.folder:q} {input.sheet:q} {params.output:q} --seed {params.seed}"
        " 2>&1 | tee {log:q} >&2"
