rule report:
    input:
        unpack(
            inputs(
                "report",
                samples=lambda wildcards: [f"{OUT}/summary.tsv"],
                calls=of_samples(called_samples(), "contigs.tsv"),
                fastas=lambda wildcards: called_fastas(),
            )
        ),
    output:
        page=report(
            f"{OUT}/report.html", caption="../report/report.rst", category="Run"
        ),
    log:
        f"{LOGS}/report.log",
    localrule: True
    conda:
        "../../envs/virnucpro.yaml"
    params:
        folder=subpath(output.page, parent=True),
        samples=list(called_samples()),
        fastas=called_fastas(),
    shell:
        "python -m virnucpro report {params.folder:q} {params.samples:q} --fasta {params.fastas:q} 2>&1 | tee {log:q} >&2"
