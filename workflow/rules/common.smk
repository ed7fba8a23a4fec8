OUT = config["outdir"]
LOGS = f"{OUT}/logs"
GPU_JOBS = (
    int(workflow.global_resources["gpu"].value)
    if "gpu" in workflow.global_resources
    else 1
)


def shards_of(wildcards):
    """Return the files of embeddings that a sample's pack asks for, which is known only once it has run."""
    table = checkpoints.pack.get(sample=wildcards.sample).output.shards
    shards = pd.read_csv(table, sep="\t", dtype=str)["shard"]
    return expand(f"{OUT}/{wildcards.sample}/shards/{{shard}}.h5", shard=shards)
