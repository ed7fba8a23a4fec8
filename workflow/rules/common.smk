OUT = config["outdir"]
LOGS = f"{OUT}/logs"

# Unlimited where nothing counts GPUs, as under SLURM, where each job asks the scheduler for its own.
GPU_JOBS = (
    int(workflow.global_resources["gpu"].value)
    if "gpu" in workflow.global_resources
    else None
)

# What the provenance of a result names; where samples lie and results go changes no result.
SETTINGS = {
    key: value for key, value in config.items() if key not in ("samples", "outdir")
}


def check_gpus():
    """Refuse what Snakemake would cap in silence."""
    if GPU_JOBS is None:
        return
    wanted = workflow.resource_settings._parsed_overwrite_resources
    for rule, resources in {"token_budget": {"gpu": 1}, **wanted}.items():
        if (
            "gpu" in resources
            and int(getattr(resources["gpu"], "value", resources["gpu"])) > GPU_JOBS
        ):
            sys.exit(
                f"virnucpro: error: rule {rule} asks for more GPUs than --resources gpu={GPU_JOBS} allows"
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


def shards_of(wildcards):
    """Return the files of embeddings that a sample's pack asks for, which is known only once it has run."""
    table = checkpoints.pack.get(sample=wildcards.sample).output.shards
    shards = pd.read_csv(table, sep="\t", dtype=str)["shard"]
    return expand(f"{OUT}/{wildcards.sample}/shards/{{shard}}.h5", shard=shards)
