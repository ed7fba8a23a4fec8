rule summary:
    input:
        expand(f"{OUT}/{{sample}}/embeddings.h5", sample=samples["sample"]),
    output:
        samples=f"{OUT}/summary.tsv",
        left_out=f"{OUT}/left_out.tsv",
        picture=f"{OUT}/packing.svg",
        text=f"{OUT}/summary.txt",
    log:
        f"{LOGS}/summary.log",
    localrule: True
    conda:
        "../../envs/virnucpro.yaml"
    params:
        folder=subpath(output.samples, parent=True),
        samples=list(samples["sample"]),
    shell:
        "python -m virnucpro summary {params.folder:q} {params.samples:q} 2>&1 | tee {log:q} >&2"
