rule pack:
    input:
        reads(
            "pack",
            "{sample}/prepared/proteins.faa",
            "{sample}/prepared/proteins.tsv",
            "{sample}/prepared/provenance.json",
        ),
        budget=reads("pack", "token_budget.json"),
        before=reads("pack", records_before),
    output:
        manifests=directory(f"{OUT}/{{sample}}/manifests"),
        duplicates=f"{OUT}/{{sample}}/duplicates.tsv",
        provenance=f"{OUT}/{{sample}}/manifests.provenance.json",
    log:
        f"{LOGS}/{{sample}}/pack.log",
    priority: 1  # as embed, which needs it
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 10),
        runtime=growing(30, 0.01),
    params:
        folder=subpath(output.duplicates, parent=True),
        layers=config["layers"],
        max_sequence_length=config["max_sequence_length"],
        long_proteins=config["long_proteins"],
        shards=lambda wildcards: len(PLAN.shards(wildcards.sample)),
        shard_tokens=config["shard_tokens"],
    shell:
        "python -m virnucpro pack {params.folder:q} {input.budget:q} --sample {wildcards.sample}"
        " --layers {params.layers} --max-sequence-length {params.max_sequence_length}"
        " --long-proteins {params.long_proteins} --shards {params.shards} --shard-tokens {params.shard_tokens}"
        " 2>&1 | tee {log:q} >&2"
