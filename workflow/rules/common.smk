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
    asked_for=lambda: workflow.dag_settings.forcerun,
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


def must_run(stage, wildcards):
    """Return whether a stage must run although its outputs may be there, and have Snakemake see to it."""
    place = (stage, wildcards.get("sample", ""), wildcards.get("shard", ""))
    try:
        must = PLAN.must_run(*place)
    except UserError as error:
        sys.exit(f"virnucpro: error: {error}")
    for record, line in PLAN.found():
        workflow.dag.forcefiles.add(record)
        if line:
            print(f"virnucpro: {line}", file=sys.stderr)
    # Content alone decides: what Snakemake sees in code and parameters would run jobs for nothing.
    workflow.dag_settings.rerun_triggers = frozenset({RerunTrigger.MTIME})
    return must or workflow.dag_settings.forceall


def reads(stage, *files):
    """Return an input function that gives files of the run, for a rule that runs a stage."""
    return lambda wildcards: flagged(
        stage,
        wildcards,
        lambda: [
            f"{OUT}/{file.format_map(dict(wildcards.items()))}"
            for name in files
            for file in (name(wildcards) if callable(name) else [name])
        ],
    )


def flagged(stage, wildcards, files):
    """Return the files that a function gives, as a stage is to see them.

    To a stage that need not run they are ancient: neither their time stamps count, nor that they are written again. What
    is missing of them is left out, since Snakemake would run whatever reads a file that is made.
    """
    here = workflow.is_main_process  # a job of a cluster may not see them yet
    if here and must_run(stage, wildcards):
        return files()
    return [ancient(file) for file in files() if not here or os.path.exists(file)]


def records_before(wildcards):
    """Return records of the stages that all of a sample's come after, from the run's folder on.

    A stage must read a file of each stage before it that may run without what lies between: Snakemake takes all that
    follows a job that runs as seen to, forced or not, and then passes on from file to file, but by no ancient one.
    """
    of_training = ["training/fragments.provenance.json"]
    return [
        "model.provenance.json",
        "token_budget.provenance.json",
        *(of_training if wildcards.get("sample") == "training" else []),
    ]


def fasta_of(stage):
    """Return an input function that gives a sample's FASTA; the training's is made by the workflow itself."""

    def fasta(wildcards):
        if wildcards.sample == "training":
            return [f"{OUT}/training/fragments.fna.gz"]
        return [samples.loc[wildcards.sample, "fasta"]]

    return lambda wildcards: flagged(stage, wildcards, lambda: fasta(wildcards))


def outside(stage, *files):
    """Return an input function that gives files from outside of the run."""
    return lambda wildcards: flagged(stage, wildcards, lambda: list(files))


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
    return PLAN.prepare_settings(wildcards.sample)["type"]


def shards_of(wildcards):
    """Return the files of a sample's shards, from the run's folder on."""
    return [
        f"{wildcards.sample}/shards/{shard}.{suffix}"
        for shard in PLAN.shards(wildcards.sample)
        for suffix in ("h5", "json")
    ]


def of_samples(names, *files):
    """Return files of samples, from the run's folder on."""
    return [f"{sample}/{file}" for sample in names for file in files]


def growing(base, per_mb):
    """Return a resource that grows with the first input file and with each attempt."""
    return lambda wildcards, input, attempt: round(
        attempt * (base + per_mb * os.path.getsize(input[0]) / 1e6)
    )


def weights_mb():
    """Return the size of the model's weights in FP32."""
    file = f"{OUT}/model.json"
    try:
        card = read_model_card(Path(file))
    except (
        UserError
    ) as error:  # Snakemake asks again when a job is about to start: then the file is there
        raise FileNotFoundError(errno.ENOENT, str(error), file)
    return estimate_memory(card["layers"], card["embed_dim"], 4).model_bytes / 1e6


def embed_threads(wildcards, input):
    """Return one where a GPU does the work, so that a device waits for a single core; else a share of all cores."""
    try:
        budget = read_token_budget(Path(OUT, "token_budget.json"))
    except UserError:
        return 1  # for a dry run: when a job is about to start, the file is there
    return max(1, workflow.cores // (GPU_JOBS or 1)) if budget["device"] == "cpu" else 1


def gpu_mem_mb(wildcards, input, attempt):
    """Return the host's memory for a job with the model: torch and CUDA, the weights and a shard."""
    return round(attempt * (8000 + weights_mb()))


def embed_minutes(wildcards, input, attempt):
    """Return an hour, and what a shard takes at 5 TFLOP/s, which old cards reach."""
    flop_per_token = weights_mb() * 1e6 / 4 * 2
    return round(attempt * (60 + config["shard_tokens"] * flop_per_token / 5e12 / 60))
