rule summary:
    input:
        records=of_samples(
            "work/{sample}/prepare.json", "work/{sample}/prepared/records.tsv"
        ),
        packed=of_samples("work/{sample}/pack.json"),
        manifests=lambda wildcards: [
            ancient(f"{WORK}/{sample}/manifests") for sample in PLAN.samples
        ],
        merged=of_samples("work/{sample}/merge.json"),
        calls=of_samples(
            "{sample}/contigs.tsv",
            "{sample}/regions.tsv",
            "{sample}/viral.fasta.gz",
            "work/{sample}/call.json",
            called=True,
        ),
    output:
        samples=report(
            f"{OUT}/summary.tsv", caption="../report/summary.rst", category="Run"
        ),
        left_out=report(
            f"{OUT}/left_out.tsv", caption="../report/left_out.rst", category="Run"
        ),
        picture=report(
            f"{OUT}/packing.svg", caption="../report/packing.rst", category="Run"
        ),
        text=f"{OUT}/summary.txt",
        stats=f"{OUT}/virnucpro_stats_mqc.tsv",
        calls=f"{OUT}/virnucpro_mqc.tsv" if PLAN.called else [],
        viral=(
            report(f"{OUT}/viral.tsv", caption="../report/viral.rst", category="Calls")
            if PLAN.called
            else []
        ),
        fasta=f"{OUT}/viral.fasta.gz" if PLAN.called else [],
        record=f"{WORK}/summary.json",
    log:
        f"{LOGS}/summary.log",
    localrule: True
    conda:
        "../../envs/virnucpro.yaml"
    params:
        samples=lambda wildcards: list(PLAN.samples),
        called=lambda wildcards: PLAN.called,
        key=PLAN.key("summary"),
    shell:
        VIRNUCPRO
        + " summary $(dirname {output.samples:q}) {params.samples:q} --called {params.called:q}"
        " 2>&1 | tee {log:q} >&2"


rule report:
    input:
        summary=multiext(f"{OUT}/", "summary.tsv", "left_out.tsv", "packing.svg"),
        sequences=f"{OUT}/viral.fasta.gz" if PLAN.called else [],
        record=f"{WORK}/summary.json",
        calls=of_samples(
            *(f"{{sample}}/{name}" for name in ON_PAGE),
            *(
                f"work/{{sample}}/{stage}.json"
                for stage in ("prepare", "merge", "call")
            ),
            called=True,
        ),
        fastas=lambda wildcards: [
            path
            for sample in PLAN.called
            for path in [outside(PLAN.samples[sample][0])]
            if path
        ],
    output:
        page=report(
            f"{OUT}/report.html", caption="../report/report.rst", category="Run"
        ),
        record=f"{WORK}/report.json",
    log:
        f"{LOGS}/report.log",
    localrule: True
    conda:
        "../../envs/virnucpro.yaml"
    params:
        samples=lambda wildcards: PLAN.called,
        earlier=lambda wildcards: PLAN.called_before(),
        fastas=lambda wildcards, output: [
            str(PLAN.samples[sample][0])
            for sample in (*PLAN.called, *PLAN.called_before())
        ],
        key=PLAN.key("report"),
    shell:
        VIRNUCPRO
        + " report $(dirname {output.page:q}) {params.samples:q} --earlier {params.earlier:q}"
        " --fasta {params.fastas:q} 2>&1 | tee {log:q} >&2"
