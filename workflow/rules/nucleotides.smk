# The second encoder: the same rules for another model, over the nucleotides of frames.


use rule fetch_model as fetch_nucleotide_model with:
    input:
        unpack(
            inputs(
                "fetch_nucleotide_model",
                weights=lambda wildcards: [nucleotide_file] if nucleotide_file else [],
            )
        ),
    output:
        f"{OUT}/{NUCLEOTIDES}/model.json",
    log:
        f"{LOGS}/fetch_nucleotide_model.log",
    params:
        model=config["nucleotide_model"],
        layers=-1,
        for_nucleotides="--for-nucleotides",


use rule token_budget as nucleotide_token_budget with:
    input:
        unpack(inputs("nucleotide_token_budget", model=f"{NUCLEOTIDES}/model.json")),
    output:
        f"{OUT}/{NUCLEOTIDES}/token_budget.json",
    log:
        f"{LOGS}/nucleotide_token_budget.log",
    resources:
        gpu=1,
        mem_mb=gpu_mem_mb(f"{OUT}/{NUCLEOTIDES}"),
        runtime=lambda wildcards, attempt: 30 * attempt,


use rule embed as embed_nucleotides with:
    input:
        unpack(
            inputs(
                "embed_nucleotides",
                packed="{sample}/" + f"{NUCLEOTIDES}/duplicates.tsv",
                model=f"{NUCLEOTIDES}/model.json",
                budget=f"{NUCLEOTIDES}/token_budget.json",
            )
        ),
    output:
        f"{OUT}/{{sample}}/{NUCLEOTIDES}/shards/{{shard}}.h5",
    log:
        f"{LOGS}/{{sample}}/embed_nucleotides_{{shard}}.log",
    threads: embed_threads(f"{OUT}/{NUCLEOTIDES}")
    resources:
        gpu=1,
        mem_mb=gpu_mem_mb(f"{OUT}/{NUCLEOTIDES}"),
        runtime=embed_minutes(f"{OUT}/{NUCLEOTIDES}"),
    params:
        folder=f"{OUT}/{{sample}}/{NUCLEOTIDES}",
        letters=f"{OUT}/{{sample}}/prepared/nucleotides.fna",
        model=config["nucleotide_model"],
        device=config["device"],
        per_residue="",
        compile="",
