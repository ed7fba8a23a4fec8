rule call:
    input:
        reads(
            "call",
            "{sample}/embeddings.h5",
            "{sample}/embeddings.provenance.json",
            "{sample}/prepared/proteins.tsv",
            "{sample}/prepared/provenance.json",
            "{sample}/manifests.provenance.json",
            records_before,
        ),
        fasta=fasta_of("call"),
        classifier=outside("call", CLASSIFIER),
    output:
        contigs=f"{OUT}/{{sample}}/contigs.tsv",
        frames=f"{OUT}/{{sample}}/frames.tsv",
        viral=f"{OUT}/{{sample}}/viral.fasta.gz",
        provenance=f"{OUT}/{{sample}}/contigs.provenance.json",
    log:
        f"{LOGS}/{{sample}}/call.log",
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 3),
        runtime=growing(30, 0.1),
    params:
        folder=subpath(output.contigs, parent=True),
    shell:
        "python -m virnucpro call {input.fasta:q} {params.folder:q} --classifier {input.classifier:q}"
        " --sample {wildcards.sample} 2>&1 | tee {log:q} >&2"
