checkpoint pack:
    input:
        proteins=f"{OUT}/{{sample}}/prepared/proteins.faa",
        budget=f"{OUT}/token_budget.json",
    output:
        # Not the manifests: one that did not change is left alone, and with it what was made from it.
        shards=f"{OUT}/{{sample}}/shards.tsv",
        duplicates=f"{OUT}/{{sample}}/duplicates.tsv",
        windows=f"{OUT}/{{sample}}/windows.tsv",
    log:
        f"{LOGS}/{{sample}}/pack.log",
    priority: 1  # as embed, which needs it
    conda:
        "../../envs/virnucpro.yaml"
    resources:
        mem_mb=growing(2000, 10),
        runtime=growing(30, 0.01),
    params:
        folder=subpath(output.shards, parent=True),
        max_sequence_length=config["max_sequence_length"],
        long_proteins=config["long_proteins"],
        shard_tokens=config["shard_tokens"],
        version=__version__,
    shell:
        "python -m virnucpro pack {input.proteins:q} {input.budget:q} {params.folder:q} --sample {wildcards.sample}"
        " --max-sequence-length {params.max_sequence_length} --long-proteins {params.long_proteins}"
        " --shard-tokens {params.shard_tokens} 2>&1 | tee {log:q} >&2"
