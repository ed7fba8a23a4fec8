rule summary:
    input:
        unpack(
            inputs(
                "summary",
                samples=of_samples(
                    samples["sample"], "duplicates.tsv", "embeddings.h5"
                ),
                calls=of_samples(called_samples(), "contigs.tsv"),
            )
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
    log:
        f"{LOGS}/summary.log",
    localrule: True
    conda:
        "../../envs/virnucpro.yaml"
    params:
        folder=subpath(output.samples, parent=True),
        samples=list(samples["sample"]),
        called=list(called_samples()),
    shell:
        "python -m virnucpro summary {params.folder:q} {params.samples:q} --called {params.called:q} 2>&1 | tee {log:q} >&2"
