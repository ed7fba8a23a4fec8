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
OF_NO_EMBEDDING = "samples outdir call classifier prior min_length chunk_scores report preset training training_bases seed container".split()
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


def bind_inputs():
    """Have containers see the folders of what is read and written, at the same paths; the working folder they see anyway."""
    tables = samples if training is None else pd.concat([samples, training])
    read = [CLASSIFIER, checkpoint_file, config.get("training"), *tables["fasta"]]
    files = [Path(OUT, "summary.tsv"), *(Path(file) for file in read if file)]
    folders = {
        str(path.parent) for file in files for path in (file.absolute(), file.resolve())
    }
    before = os.getenv("APPTAINER_BIND", "").split(",")
    os.environ.update(
        APPTAINER_BIND=",".join(filter(None, [*before, *sorted(folders)]))
    )


def must_run(rule, wildcards):
    """Return whether a rule must run although its outputs may be there, and have Snakemake see to it."""
    place = (rule, wildcards.get("sample", ""), wildcards.get("shard", ""))
    try:
        must = PLAN.must_run(*place)
    except UserError as error:
        sys.exit(f"virnucpro: error: {error}")
    for files, line in PLAN.found():
        workflow.dag.forcefiles.update(files)
        if line:
            print(f"virnucpro: {line}", file=sys.stderr)
    # Content alone decides: what Snakemake sees in code and parameters would run jobs for nothing.
    workflow.dag_settings.rerun_triggers = frozenset({RerunTrigger.MTIME})
    return must or workflow.dag_settings.forceall


def inputs(job, **files):
    """Return a function that gives the input files of a rule by name.

    To a job that need not run they are ancient: neither their time stamps count, nor that they are written again. What
    is missing of them is left out, since Snakemake would run whatever reads a file that is made; and so is what will be
    made anew: Snakemake does not look at what comes after a job that runs, and passes on from file to file, but by no
    ancient one. A job must read a file of each job before it that may run without what lies between.

    Args:
        job: the name of the rule.
        files: a path, from the run's folder on, or a function that returns paths.
    """

    def of_job(wildcards):
        found = {
            name: (
                paths(wildcards)
                if callable(paths)
                else [f"{OUT}/{paths.format_map(dict(wildcards.items()))}"]
            )
            for name, paths in files.items()
        }
        here = workflow.is_main_process  # a job of a cluster may not see them yet
        if here and must_run(job, wildcards):
            return found
        return {
            name: [ancient(path) for path in paths if not here or is_kept(path)]
            for name, paths in found.items()
        }

    return of_job


def is_kept(path):
    """Return whether a file is there, and no job is to make it anew."""
    return os.path.exists(path) and path not in workflow.dag.forcefiles


def fasta_of(wildcards):
    """Return a sample's FASTA; the training's is made by the workflow itself."""
    if wildcards.sample == "training":
        return [f"{OUT}/training/fragments.fna.gz"]
    return [str(PLAN.samples[wildcards.sample][0])]


def prepare_command(wildcards, input, threads):
    """Return the command that makes a sample's proteins, to be followed by another; nothing where they can be kept."""
    if PLAN.keeps_proteins(wildcards.sample) and not workflow.dag_settings.forceall:
        return ""
    folder = f"{OUT}/{wildcards.sample}/prepared"
    words = ["prepare", *input.fasta, folder, "--sample", wildcards.sample]
    words += ["--threads", threads]
    for name, value in PLAN.prepare_settings(wildcards.sample).items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *values] if values else []
    return shlex.join([*map(str, words), "then"])


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


def called_fastas():
    """Return the files of the samples whose contigs are to be called."""
    return [str(PLAN.samples[sample][0]) for sample in called_samples()]


def shards_of(wildcards):
    """Return the files of a sample's shards."""
    return [
        f"{OUT}/{wildcards.sample}/shards/{shard}.h5"
        for shard in PLAN.shards(wildcards.sample)
    ]


def of_nucleotides(*files):
    """Return a function that gives files of a sample that are made of its nucleotides, where these are embedded."""
    return lambda wildcards: [
        f"{OUT}/{wildcards.sample}/{NUCLEOTIDES}/{file}"
        for file in files
        if "nucleotide_model" in config
    ]


def of_run_nucleotides(file):
    """Return a function that gives a file of the model for nucleotides, where there is one."""
    return lambda wildcards: (
        [f"{OUT}/{NUCLEOTIDES}/{file}"] if "nucleotide_model" in config else []
    )


def nucleotide_shards_of(wildcards):
    """Return the files of the shards of a sample's nucleotides."""
    return [
        f"{OUT}/{wildcards.sample}/{NUCLEOTIDES}/shards/{shard}.h5"
        for shard in PLAN.nucleotide_shards(wildcards.sample)
    ]


def pack_nucleotides_command(wildcards):
    """Return the command that packs the nucleotides of a sample's frames, to follow another; nothing without a model."""
    if not PLAN.nucleotide_shards(wildcards.sample):
        return ""
    words = ["then", "pack", f"{OUT}/{wildcards.sample}"]
    words += [f"{OUT}/{NUCLEOTIDES}/token_budget.json", "--sample", wildcards.sample]
    words += ["--nucleotides", config["nucleotide_model"]]
    words += ["--shards", len(PLAN.nucleotide_shards(wildcards.sample))]
    words += ["--shard-tokens", config["shard_tokens"]]
    return shlex.join(map(str, words))


def merge_nucleotides_command(wildcards):
    """Return the command that merges the embeddings of a sample's nucleotides, to follow another; or nothing."""
    if not PLAN.nucleotide_shards(wildcards.sample):
        return ""
    words = ["then", "merge", f"{OUT}/{wildcards.sample}", "--nucleotides"]
    return shlex.join([*words, "--settings", json.dumps(SETTINGS)])


def of_samples(names, *files):
    """Return a function that gives files of samples."""
    return lambda wildcards: [
        f"{OUT}/{sample}/{file}" for sample in names for file in files
    ]


# What each job of a sample of one shard has written when it is done, by the name of its log.
WRITTEN = {
    "prepare": "duplicates.tsv",
    "embed_0001": "shards/0001.h5",
    "merge": "embeddings.h5",
    "call": "contigs.tsv",
}


def group_of(name):
    """Return a function that gives the group of a sample's job on a cluster, where small samples share jobs.

    A job that fails takes with it all that shares it. Neighbours in the table of samples therefore share those of all
    stages, so that the others go on; and a sample of which a job failed has jobs of its own in the next run.

    Args:
        name: of the group; the profile's group-components says how many samples are one job.
    """

    def group(wildcards):
        sample = wildcards.sample
        if not workflow.non_local_exec or not workflow.is_main_process:
            return None
        if sample not in PLACE or len(PLAN.shards(sample)) > 1 or has_failed(sample):
            return None
        size = workflow.group_settings.group_components.get(name, 1)
        batch = f"{name}_{PLACE[sample] // size}"
        workflow.parent_groupids[batch] = name  # by which Snakemake finds the size
        return batch

    return group


async def choose_in_constant_time(scheduler, jobs):
    """Take all input files to be equally large, and let as many jobs start in a second as there is room for.

    Before each choice of jobs Snakemake asks for the sizes of the inputs of all that could run, to break ties between
    jobs of one priority; and after each it sets an alarm, for its limit of 100 jobs a second, that has it choose and set
    the alarm again. Either takes time that grows with the square of the samples. Cores or the profile's jobs limit what
    starts; another limit that a user sets is kept.
    """
    scheduler._input_sizes = defaultdict(int)
    limiter = scheduler.job_rate_limiter
    if limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        scheduler.job_rate_limiter = None


# Snakemake calls it before each choice.
JobScheduler.update_input_sizes = choose_in_constant_time

# No file here is a pipe, for which Snakemake would look among all jobs before the summary for each file that it reads.
Job.is_pipe_or_service_input = lambda job, path: False

PLACE = {sample: number for number, sample in enumerate(PLAN.samples)}


@cache
def has_failed(sample):
    """Return whether, as the run starts, a job of a sample has left a log and nothing else."""
    return any(
        os.path.exists(f"{LOGS}/{sample}/{log}.log")
        and not os.path.exists(f"{OUT}/{sample}/{file}")
        for log, file in WRITTEN.items()
    )


def growing(base, per_mb):
    """Return a resource that grows with the first input file and with each attempt."""
    return lambda wildcards, input, attempt: round(
        attempt * (base + per_mb * os.path.getsize(input[0]) / 1e6)
    )


def weights_mb(file):
    """Return the size of a model's weights in FP32, from the file that fetch-model wrote of it."""
    try:
        card = read_model_card(Path(file))
    except (
        UserError
    ) as error:  # Snakemake asks again when a job is about to start: then the file is there
        raise FileNotFoundError(errno.ENOENT, str(error), file)
    return memory_of_model(card, 4).model_bytes / 1e6


def prepare_threads(wildcards, input):
    """Return one, and one more for every 2 MB of the file, up to 8, where genes are found."""
    if PLAN.proteins(wildcards.sample) != "genes":
        return 1
    size = sum(os.path.getsize(path) for path in input if os.path.exists(path))
    return min(8, 1 + size // 2_000_000)


def embed_threads(folder):
    """Return a function that gives one where a GPU does the work, so that a device waits for a single core; else a
    share of all cores.

    Args:
        folder: of the run, with the files of the model, here and below.
    """

    def threads(wildcards, input):
        try:
            budget = read_token_budget(Path(folder, "token_budget.json"))
        except UserError:
            return 1  # for a dry run: when a job is about to start, the file is there
        shared = max(1, workflow.cores // (GPU_JOBS or 1))
        return shared if budget["device"] == "cpu" else 1

    return threads


def gpu_mem_mb(folder):
    """Return a function that gives the host's memory for a job with a model: torch and CUDA, the weights and a shard."""
    return lambda wildcards, input, attempt: round(
        attempt * (8000 + weights_mb(f"{folder}/model.json"))
    )


def embed_minutes(folder):
    """Return a function that gives an hour, and what a shard takes at 5 TFLOP/s, which old cards reach."""

    def minutes(wildcards, input, attempt):
        flop_per_token = weights_mb(f"{folder}/model.json") * 1e6 / 4 * 2
        return round(
            attempt * (60 + config["shard_tokens"] * flop_per_token / 5e12 / 60)
        )

    return minutes
