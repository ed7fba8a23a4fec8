rule prepare:
    input:
        unpack(
            inputs(
                "prepare",
                fasta=fasta_of,
                budget="token_budget.json",
                nucleotides=of_run_nucleotides("token_budget.json"),
            )
        ),
    output:
        # The last that is written: prepared/ and manifests/ are there when it is, and are not deleted where they can be kept.
        f"{OUT}/{{sample}}/duplicates.tsv",
        *(
            [f"{OUT}/{{sample}}/{NUCLEOTIDES}/duplicates.tsv"]
            if "nucleotide_model" in config
            else []
        ),
    log:
        f"{LOGS}/{{sample}}/prepare.log",
    priority: 1  # as embed, which needs it
    group:
        group_of("prepare")
    conda:
        "../../envs/virnucpro.yaml"
    threads: prepare_threads
    resources:
        mem_mb=growing(2000, 4),
        runtime=growing(30, 0.02),
    params:
        folder=subpath(output[0], parent=True),
        prepare=prepare_command,
        layers=config["layers"],
        max_sequence_length=config["max_sequence_length"],
        long_proteins=config["long_proteins"],
        shards=lambda wildcards: len(PLAN.shards(wildcards.sample)),
        shard_tokens=config["shard_tokens"],
        nucleotides=pack_nucleotides_command,
    shell:
        "python -m virnucpro {params.prepare} pack {params.folder:q} {input.budget:q} --sample {wildcards.sample}"
        " --layers {params.layers} --max-sequence-length {params.max_sequence_length}"
        " --long-proteins {params.long_proteins} --shards {params.shards} --shard-tokens {params.shard_tokens} {params.nucleotides}"
        " 2>&1 | tee {log:q} >&2"
