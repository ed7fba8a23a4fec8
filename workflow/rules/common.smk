OUT = config["outdir"]
LOGS = f"{OUT}/logs"

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


def starts_jobs():
    """Whether this is a run that may change files: no dry run, report and the like, and no other run is going on."""
    looks_only = {
        "-n",
        "--dry-run",
        "--dryrun",
        "--unlock",
        "--report",
        "--lint",
        "--summary",
        "--dag",
        "--rulegraph",
    }
    locked = any(Path(".snakemake", "locks").glob("*"))
    return (
        workflow.is_main_process
        and not locked
        and not looks_only.intersection(sys.argv)
    )


def fasta_of(wildcards):
    """Return a sample's FASTA; the training's is made by the workflow itself."""
    if wildcards.sample == "training":
        return f"{OUT}/training/fragments.fna.gz"
    return samples.loc[wildcards.sample, "fasta"]


def refuse_without_samples(wildcards):
    """Return no file; which target is asked for is known only here, not while the configuration is checked."""
    if samples.empty:
        sys.exit(
            "virnucpro: error: config: samples is missing; name a table of samples, or type snakemake train to train alone"
        )
    return []


def called_samples():
    """Return the samples whose contigs are to be called."""
    return samples["sample"][samples["type"] == "contigs"] if config["call"] else []


def type_of(wildcards):
    """Return whether a sample holds contigs or proteins."""
    return (
        "contigs"
        if wildcards.sample == "training"
        else samples.loc[wildcards.sample, "type"]
    )


def shards_of(wildcards):
    """Return the files of embeddings that a sample's pack asks for, which is known only once it has run."""
    table = checkpoints.pack.get(sample=wildcards.sample).output.shards
    shards = pd.read_csv(table, sep="\t", dtype=str)["shard"]
    return expand(f"{OUT}/{wildcards.sample}/shards/{{shard}}.h5", shard=shards)


def growing(base, per_mb):
    """Return a resource that grows with the first input file and with each attempt."""
    return lambda wildcards, input, attempt: round(
        attempt * (base + per_mb * os.path.getsize(input[0]) / 1e6)
    )


def weights_mb():
    """Return the size of the model's weights in FP32."""
    with open(f"{OUT}/model.json") as file:
        card = json.load(file)
    return estimate_memory(card["layers"], card["embed_dim"], 4).model_bytes / 1e6


def embed_threads(wildcards, input):
    """Return one where a GPU does the work, so that a device waits for a single core; else a share of all cores."""
    with open(f"{OUT}/token_budget.json") as file:
        on_cpu = json.load(file)["device"] == "cpu"
    return max(1, workflow.cores // (GPU_JOBS or 1)) if on_cpu else 1


def gpu_mem_mb(wildcards, input, attempt):
    """Return the host's memory for a job with the model: torch and CUDA, the weights and a shard."""
    return round(attempt * (8000 + weights_mb()))


def embed_minutes(wildcards, input, attempt):
    """Return an hour, and what a shard takes at 5 TFLOP/s, which old cards reach."""
    flop_per_token = weights_mb() * 1e6 / 4 * 2
    return round(attempt * (60 + config["shard_tokens"] * flop_per_token / 5e12 / 60))
