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
            "{sample}/genes.tsv",
            "{sample}/genes.gff3",
            "{sample}/regions.tsv",
            "{sample}/regions.gff3",
            "{sample}/viral.fasta.gz",
            "work/{sample}/call.json",
            called=True,
        ),
        fastas=lambda wildcards: [
            path
            for sample in PLAN.called
            for path in [outside(PLAN.samples[sample][0])]
            if path
        ],
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
        page=(
            report(
                f"{OUT}/report.html", caption="../report/report.rst", category="Run"
            )
            if HAS_PAGE
            else []
        ),
        page_record=f"{WORK}/report.json" if HAS_PAGE else [],
    log:
        f"{LOGS}/summary.log",
    localrule: True
    conda:
        "../../envs/virnucpro.yaml"
    params:
        samples=lambda wildcards: list(PLAN.samples),
        called=lambda wildcards: PLAN.called,
        earlier=PLAN.called_before(),
        key=PLAN.key("report"),  # it covers the key of summary
        command=lambda wildcards, output: for_shell(
            summary_command(
                os.path.dirname(output.samples),
                PLAN.samples,
                PLAN.called,
                PLAN.called_before(),
            )
        ),
    shell:
        VIRNUCPRO + " {params.command} 2>&1 | tee {log:q} >&2"
