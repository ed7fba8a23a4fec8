STARTED = time.time()
LOCK = []  # held until Snakemake ends
MEMORY = Path(".snakemake", "virnucpro")
WARNED = Path(MEMORY, "warned").absolute()


try:
    PLAN = plan_run(config, MEMORY)
    # A run claims its results in onstart, which Snakemake does not run for a module.
    claim(PLAN.results(), MEMORY / "results.json", only_check=not IS_MODULE)
except (UserError, OSError) as error:
    sys.exit(f"virnucpro: error: {describe_error(error)}")

OUT = str(Path(config["outdir"]))
WORK = str(Path(OUT, "work"))
LOGS = f"{WORK}/logs"

# The program: this copy, run by the Python of Snakemake, or of the Conda environment. In a container it is the image's
# own copy.
MAIN = shlex.quote(str(Path(virnucpro.__file__).with_name("__main__.py")))
CONDA = shlex.quote(os.environ.get("CONDA_PREFIX", ""))
VIRNUCPRO = (
    f'[ "${{CONDA_PREFIX:-}}" = {CONDA} ] && python={shlex.quote(sys.executable)} || python=python; '
    f'"$python" -P {MAIN}'
)
if "container" in config:
    VIRNUCPRO = (
        'virnucpro() { [ -n "${APPTAINER_CONTAINER:-}" ] && { python -P -m virnucpro "$@"; return; }; '
        f'{VIRNUCPRO} "$@"; }}; virnucpro'
    )

# The shell text of every job begins with it. Snakemake does not know a module's names when it formats the text.
VIRNUCPRO = VIRNUCPRO.replace("{", "{{").replace("}", "}}")

# Files with the input of each encoder.
LETTERS = {PROTEINS: "proteins.faa", NUCLEOTIDES: "nucleotides.fna"}
# The profile for SLURM has 100 blocks; with more samples they are used again.
BLOCKS = {sample: number // 16 % 100 for number, sample in enumerate(PLAN.samples)}
# The logs of a sample are read once, not for each job.
failed_before = cache(lambda sample: has_failed(PLAN, sample))
# Whether the run has a page: it is enabled, and there are calls of this run or an earlier one.
HAS_PAGE = config["report"] and bool(PLAN.called or PLAN.called_before())
# Settings that do not change embeddings, such as paths, are left out of the record of embeddings.
OF_NO_EMBEDDING = "samples outdir call classifier screen prior sensitivity max_fdr min_length references heads report preset training training_bases seed container".split()
SETTINGS = {key: value for key, value in config.items() if key not in OF_NO_EMBEDDING}

# For the records, and so that a warning is given by one job only.
os.environ.setdefault("VIRNUCPRO_COMMAND", shlex.join(sys.argv))
os.environ.update(VIRNUCPRO_SETTINGS=json.dumps(SETTINGS), VIRNUCPRO_WARNED=str(WARNED))


def bind_inputs():
    """Bind the folders of all input files and of the results in containers."""
    training = PLAN.training
    read = [PLAN.classifier, *(path for path, _ in PLAN.samples.values())]
    read += PLAN.genes.values()
    read += [training.sheet, *training.fastas] if training else []
    read += [*PLAN.references, *filter(None, [PLAN.heads])]
    read += filter(None, map(local_checkpoint, PLAN.models.values()))
    folders = {
        str(path.parent)
        for file in (Path(OUT, "summary.tsv"), *read)
        for path in (file.absolute(), file.resolve())
    }
    before = os.getenv("APPTAINER_BIND", "").split(",")
    bound = ",".join(filter(None, [*before, *sorted(folders)]))
    os.environ.update(APPTAINER_BIND=bound)


if "container" in config:
    bind_inputs()


def key(stage):
    """Return a function that gives the key of a job, a digest of everything that changes its result."""
    return lambda wildcards: PLAN.key(stage, *place(wildcards))


def place(wildcards):
    """Return the sample and the encoder of a job, empty if it has none."""
    return wildcards.get("sample", ""), wildcards.get("encoder", "")


def outside(path):
    """Return a file from outside the run as an input, empty if it is missing; its digest counts, not its date."""
    return ancient(local(str(path))) if path and os.path.exists(path) else []


def fasta_of(wildcards):
    """Return a sample's FASTA file; the workflow makes the file of the training."""
    if wildcards.sample == TRAINING:
        return f"{WORK}/{TRAINING}/fragments.fna.gz"
    return required(PLAN.samples[wildcards.sample][0])


def genes_of(wildcards):
    """Return the file with the genes of a sample's contigs, if it has one."""
    genes = PLAN.genes.get(wildcards.sample)
    return required(genes) if genes else []


def required(path):
    """Return a file of a sample as an input, empty if it is missing but was there in an earlier run."""
    return outside(path) if PLAN.outside.sha256(path) != "missing" else str(path)


def circles_of(wildcards):
    """Return Flye's table of contigs beside a sample's FASTA, if there is one."""
    fasta, kind = PLAN.samples.get(wildcards.sample, ("", ""))
    return outside(flye_table(fasta)) if kind == "contigs" else []


def encoders(path):
    """Return paths for each encoder of the run."""
    return [path.replace("{encoder}", encoder) for encoder in PLAN.encoders]


def results(wildcards):
    """Return the results of all samples; one file of calls each, and lost files: each listed file costs time."""
    merged = [
        f"{OUT}/{sample}/embeddings{encoder}.h5"
        for sample in PLAN.samples
        for encoder in PLAN.encoders
    ]
    called = [f"{OUT}/{sample}/contigs.tsv" for sample in PLAN.called]
    lost = [
        path
        for sample in PLAN.called
        if os.path.exists(f"{WORK}/{sample}/call.json")
        for path in (f"{OUT}/{sample}/{name}" for name in PLAN.call_files)
        if not os.path.exists(path)
    ]
    return [*merged, *called, *lost]


def targets(wildcards):
    """Return the files of a whole run."""
    if not PLAN.samples:
        sys.exit(
            "virnucpro: error: config: samples is missing; name a table of samples, or type snakemake train to train alone"
        )
    return [*results(wildcards), *rules.summary.output]


def shards_of(wildcards):
    """Return the embeddings of a sample's shards, with their records."""
    folder = f"{WORK}/{wildcards.sample}/shards{wildcards.encoder}"
    return [
        f"{folder}/{shard}.{ending}"
        for shard in PLAN.shards(wildcards.sample, wildcards.encoder)
        for ending in ("h5", "json")
    ]


def group(name):
    """Return a function that gives the group of a sample's job: with a cluster profile, small samples share jobs.

    A group covers a block of 16 neighbors in the table of samples, the same for each stage. If a job fails, all jobs of
    its group fail. A sample with a job that failed in an earlier run has separate jobs.
    """

    def of_job(wildcards):
        sample = wildcards.sample
        shares = (
            sample != TRAINING
            and all(len(PLAN.shards(sample, encoder)) == 1 for encoder in PLAN.encoders)
            and not failed_before(sample)
        )
        return f"{name}_{BLOCKS[sample]}" if shares else None

    return of_job


def of_samples(*paths, called=False):
    """Return a function that gives files of all samples, or of all samples with calls."""
    return lambda wildcards: [
        f"{OUT}/{path.format(sample=sample)}"
        for sample in (PLAN.called if called else PLAN.samples)
        for path in paths
    ]


def prepare_command(wildcards, input, output, threads):
    """Return the commands that prepare a sample and pack it for each encoder, in one process."""
    sample, folder = wildcards.sample, os.path.dirname(output.record)
    fasta = str(input.fasta or PLAN.samples[sample][0])
    words = ["prepare", fasta, folder, "--sample", sample, "--threads", str(threads)]
    words += ["--genes", str(PLAN.genes[sample])] if sample in PLAN.genes else []
    words += shlex.split(PLAN.options("prepare", sample))
    for encoder, budget in zip(PLAN.encoders, input.budgets):
        screen = PLAN.screen(sample)
        model = ["--screen", str(screen)] if screen else []
        model = ["--nucleotides", PLAN.models[encoder]] if encoder else model
        words += ["then", "pack", folder, budget, *model, "--sample", sample]
        words += shlex.split(PLAN.options("pack", sample, encoder))
        words += ["--shard-tokens", str(config["shard_tokens"])]
    return shlex.join(words)


def summary_command(folder, samples, called, earlier=(), failed=()):
    """Return the words of the commands that sum up a run and write its page, in one process."""
    words = ["summary", folder, *samples, "--called", *called, *failed]
    if HAS_PAGE and (called or earlier):
        fastas = [str(PLAN.samples[sample][0]) for sample in (*called, *earlier)]
        words += ["then", "report", folder, *called, "--earlier", *earlier, *failed]
        words += ["--fasta", *fastas]
    return words


def for_shell(words):
    """Return words as text for the shell, or a file with them: Linux limits the text to 128 KB."""
    text = shlex.join(words)
    if len(os.fsencode(text)) < 100_000:
        return text
    path = (
        MEMORY / "commands" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    )
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(words))
    return shlex.quote(f"@{path}")


def embed_command(wildcards, input, output):
    """Return the command that embeds a shard, without the options that change the result."""
    manifest = f"{input.manifests}/{wildcards.shard}.json"
    words = ["embed", manifest, str(input.letters), output.embeddings]
    words += ["--model", PLAN.models[wildcards.encoder], "--device", config["device"]]
    return shlex.join([*words, *(["--compile"] if config["compile"] else [])])


def prepare_threads(wildcards):
    """Return the threads of prepare: for genes one, and one more for every 600,000 tokens, up to 8."""
    if PLAN.proteins(wildcards.sample) != "genes":
        return 1
    return min(8, 1 + int(PLAN.tokens(wildcards.sample) // 600_000))


def growing(base, per_million):
    """Return a resource that grows with the tokens of a sample, in millions, and with each attempt."""

    def resource(wildcards, attempt):
        cancel_alarms()  # here, because Snakemake calls this whenever it chooses jobs
        tokens = PLAN.tokens(wildcards.sample)
        return round(attempt * (base + per_million * tokens / 1e6))

    return resource


def weights_mb(wildcards, input):
    """Return the size of a model's weights in FP32; an estimate until fetch_model has run.

    The file of fetch_model is beside the token budget, also if a module's host has moved both.
    """
    beside = Path(input.get("budget", input[0]))
    try:
        card = read_model_card(beside.with_name(f"model{wildcards.encoder}.json"))
    except UserError:
        return 1000
    return memory_of_model(card, 4).model_bytes / 1e6


def runs_on_cpu(input):
    """Return whether a CPU embeds, if that is known."""
    try:
        budget = read_token_budget(Path(input.budget))
    except UserError:
        return PLAN.device == "cpu"
    return budget["device"] == "cpu"


def embed_threads(wildcards, input):
    """Return the threads of embed: all cores on a CPU, one on a GPU, so that a GPU never waits for more cores."""
    return workflow.cores if runs_on_cpu(input) else 1


def model_mem_mb(wildcards, input, attempt):
    """Return the host memory of a job with a model: torch and CUDA, the weights, and a shard."""
    return round(attempt * (8000 + weights_mb(wildcards, input)))


def embed_minutes(wildcards, input, attempt):
    """Return the minutes of embed: 3, 5 more to compile, the time to read the model at 50 MB/s and to embed a shard.

    Old GPUs reach 5 TFLOP/s, CPUs 0.05.
    """
    tokens = min(
        PLAN.tokens(wildcards.sample, wildcards.encoder), 2 * config["shard_tokens"]
    )
    megabytes = weights_mb(wildcards, input)
    rate = 5e10 if runs_on_cpu(input) else 5e12
    seconds = megabytes / 50 + tokens * megabytes * 1e6 / 4 * 2 / rate
    return round(attempt * (3 + 5 * config["compile"] + seconds / 60))


def hold_outdir():
    """Lock the folder of results against another run, and claim the results."""
    try:
        held = hold(Path(WORK))
        claim(PLAN.results(), MEMORY / "results.json")
        return held
    except (UserError, OSError) as error:
        sys.exit(f"virnucpro: error: {describe_error(error)}")


def cancel_alarms():
    """Cancel the alarms set by the profile's limit on jobs: they add up, and Snakemake waits for the last one."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer) and thread.interval == 60:
            thread.cancel()


def summarize_finished(log):
    """Write summary and page of the finished samples, and the table of failed samples with reasons."""
    if any(
        "Terminating processes on user request" in Path(path).read_text()
        for path in log
    ):
        return
    finished = [sample for sample in PLAN.samples if is_finished(PLAN, sample)]
    failures = write_failures(PLAN, finished, STARTED)
    called = [sample for sample in PLAN.called if sample in finished]
    if not finished:
        return
    words = summary_command(OUT, finished, called, failed=["--failed", str(failures)])
    subprocess.run([sys.executable, "-P", *shlex.split(f"{MAIN} {for_shell(words)}")])
