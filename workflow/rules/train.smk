rule fragment:
    input:
        sheet=lambda wildcards: outside(PLAN.training.sheet),
        fastas=lambda wildcards: [outside(path) for path in PLAN.training.fastas],
    output:
        fasta=f"{WORK}/training/fragments.fna.gz",
        table=f"{WORK}/training/fragments.tsv",
        record=f"{WORK}/training/fragment.json",
    log:
        f"{LOGS}/training/fragment.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        options=PLAN.options("fragment", TRAINING),
        data=PLAN.files("fragment", TRAINING),
        key=PLAN.key("fragment", TRAINING),
    shell:
        VIRNUCPRO
        + " fragment {input.sheet:q} {output.fasta:q} {output.table:q} {params.options} 2>&1 | tee {log:q} >&2"


rule train:
    input:
        sheet=lambda wildcards: outside(PLAN.training.sheet),
        fragments=multiext(f"{WORK}/training/", "fragments.fna.gz", "fragments.tsv"),
        records=multiext(f"{WORK}/training/", "fragment.json", "prepare.json"),
        prepared=multiext(f"{WORK}/training/prepared/", "proteins.tsv", "proteins.faa"),
        embeddings=encoders(f"{OUT}/training/embeddings{{encoder}}.h5"),
        merged=encoders(f"{WORK}/training/merge{{encoder}}.json"),
        screened=multiext(f"{WORK}/training/", "screened.tsv", "pack.json"),
    output:
        classifier=f"{OUT}/training/classifier/classifier.safetensors",
        screen=(
            f"{OUT}/training/classifier/classifier_screen.safetensors"
            if config["proteins"] == "genes"
            else []
        ),
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
        record=f"{WORK}/training/train.json",
    log:
        f"{LOGS}/training/train.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        options=PLAN.options("train", TRAINING),
        key=PLAN.key("train", TRAINING),
    shell:
        VIRNUCPRO
        + " train $(dirname {output.record:q}) $(dirname $(dirname {output.classifier:q})) {input.sheet:q}"
        " $(dirname {output.classifier:q}) {params.options} 2>&1 | tee {log:q} >&2"
