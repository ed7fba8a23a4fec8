OUT = str(Path(config["outdir"]))
LOGS = f"{OUT}/logs"
WARNED = Path(".snakemake", "virnucpro.warned").absolute()

# The one that comes with virnucpro lies in the package.
CLASSIFIER = str(classifier)

# Unlimited where nothing counts GPUs, as under SLURM, where each job asks the scheduler for its own.
GPU_JOBS = (
    int(workflow.global_resources["gpu"].value)
    if "gpu" in workflow.global_resources
    else None
)

# What the provenance of embeddings names. Where samples lie and results go changes none, nor does what calls them.
OF_NO_EMBEDDING = "samples outdir call classifier training training_bases seed".split()
SETTINGS = {key: value for key, value in config.items() if key not in OF_NO_EMBEDDING}

PLAN = Plan(
    config,
    {
        row.sample: (Path(row.fasta), row.type)
        for row in samples.itertuples(index=False)
    },
    classifier,
    *(
        []
        if training is None
        else [
            (Path(config["training"]), sorted(set(training["fasta"]))),
            training["group"].nunique(),
        ]
    ),
)


def check_gpus():
    """Refuse what Snakemake would cap in silence."""
    if GPU_JOBS is None:
        return
    wanted = {"embed": 1}
    changed = workflow.resource_settings._parsed_overwrite_resources
    for name, resources in changed.items():
        gpus = getattr(resources.get("gpu"), "value", None)
        if isinstance(gpus, int):
            wanted[name] = gpus
    for name, gpus in wanted.items():
        if gpus > GPU_JOBS:
            sys.exit(
                f"virnucpro: error: {name} asks for {gpus} GPUs, more than --resources gpu={GPU_JOBS} allows"
            )


def stale(wildcards):
    """Have Snakemake run again what is stale of a sample, or of the model for no sample; needs no file itself.

    Every rule names such a function among its inputs, so that what is looked at is what Snakemake is asked for.
    """
    return run_again(PLAN.look_at(wildcards.get("sample", "")))


def stale_summary(wildcards):
    """Have Snakemake run again what is stale of all samples and their summary."""
    return run_again(PLAN.look_at_all())


def stale_training(wildcards):
    """Have Snakemake run again what is stale of the training."""
    return run_again(PLAN.look_at("training"))


def run_again(news):
    """Say what is new of stages that must run again, and have Snakemake run them; return no files."""
    if workflow.is_main_process:
        for line in news:
            print(f"virnucpro: {line}", file=sys.stderr)
        workflow.dag.forcefiles.update(PLAN.stale_records())
        # Content alone decides: what Snakemake sees in code and parameters would run jobs for nothing.
        workflow.dag_settings.rerun_triggers = frozenset({RerunTrigger.MTIME})
    return []


def fasta_of(wildcards):
    """Return a sample's FASTA; the training's is made by the workflow itself."""
    if wildcards.sample == "training":
        return ancient(f"{OUT}/training/fragments.fna.gz")
    return ancient(samples.loc[wildcards.sample, "fasta"])


def called_samples():
    """Return the samples whose contigs are to be called."""
    return samples["sample"][samples["type"] == "contigs"] if config["call"] else []


def type_of(wildcards):
    """Return whether a sample holds contigs or proteins."""
    return PLAN.prepare_settings(wildcards.sample)["type"]


def embedded_shards_of(suffix):
    """Return a function that gives the files of a sample's shards that end so."""
    return lambda wildcards: [
        ancient(f"{OUT}/{wildcards.sample}/shards/{shard}{suffix}")
        for shard in PLAN.shards(wildcards.sample)
    ]


def growing(base, per_mb):
    """Return a resource that grows with the first input file and with each attempt."""
    return lambda wildcards, input, attempt: round(
        attempt * (base + per_mb * os.path.getsize(input[0]) / 1e6)
    )


def weights_mb():
    """Return the size of the model's weights in FP32."""
    try:
        card = read_model_card(Path(OUT, "model.json"))
    except UserError as error:
        raise FileNotFoundError(error)  # Snakemake asks again once fetch_model has run
    return estimate_memory(card["layers"], card["embed_dim"], 4).model_bytes / 1e6


def embed_threads(wildcards, input):
    """Return one where a GPU does the work, so that a device waits for a single core; else a share of all cores."""
    try:
        on_cpu = read_token_budget(Path(OUT, "token_budget.json"))["device"] == "cpu"
    except UserError as error:
        raise FileNotFoundError(error)  # Snakemake asks again once token_budget has run
    return max(1, workflow.cores // (GPU_JOBS or 1)) if on_cpu else 1


def gpu_mem_mb(wildcards, input, attempt):
    """Return the host's memory for a job with the model: torch and CUDA, the weights and a shard."""
    return round(attempt * (8000 + weights_mb()))


def embed_minutes(wildcards, input, attempt):
    """Return an hour, and what a shard takes at 5 TFLOP/s, which old cards reach."""
    flop_per_token = weights_mb() * 1e6 / 4 * 2
    return round(attempt * (60 + config["shard_tokens"] * flop_per_token / 5e12 / 60))
