rule call:
    input:
        fasta=fasta_of,
        prepared=f"{WORK}/{{sample}}/prepare.json",
        read=multiext(
            f"{WORK}/{{sample}}/prepared/",
            "proteins.faa",
            "proteins.tsv",
            "records.tsv",
        ),
        screened=f"{WORK}/{{sample}}/screened.tsv",
        packed=f"{WORK}/{{sample}}/pack.json",
        embeddings=encoders(f"{OUT}/{{sample}}/embeddings{{encoder}}.h5"),
        merged=encoders(f"{WORK}/{{sample}}/merge{{encoder}}.json"),
        classifier=(
            str(PLAN.classifier)
            if PLAN.calls_by_training
            else outside(PLAN.classifier)
        ),
        metrics=(
            f"{OUT}/training/classifier/metrics.json"
            if PLAN.calls_by_training
            else outside(PLAN.classifier.with_name("metrics.json"))
        ),
        references=f"{WORK}/references.npz" if PLAN.references else [],
        heads=outside(PLAN.heads),
    output:
        contigs=report(
            f"{OUT}/{{sample}}/contigs.tsv",
            caption="../report/contigs.rst",
            category="Calls",
            labels={"sample": "{sample}"},
        ),
        others=[f"{OUT}/{{sample}}/{name}" for name in PLAN.call_files[1:]],
        record=f"{WORK}/{{sample}}/call.json",
    log:
        f"{LOGS}/{{sample}}/call.log",
    group:
        group("merge")
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 100),
        runtime=growing(5, 2),
    params:
        options=PLAN.options("call"),
        classifier=PLAN.files("call"),
        key=key("call"),
        names=lambda wildcards, input, output: [
            word
            for option, path in (
                ("--references", input.references),
                ("--heads", PLAN.heads),
            )
            if path
            for word in (option, str(path))
        ],
        fasta=lambda wildcards, input, output: input.fasta
        or PLAN.samples[wildcards.sample][0],
    shell:
        VIRNUCPRO
        + " call {params.fasta:q} $(dirname {output.record:q}) $(dirname {output.contigs:q})"
        " --classifier {input.classifier:q} {params.names:q} {params.options} --sample {wildcards.sample} --key {params.key}"
        " 2>&1 | tee {log:q} >&2"
