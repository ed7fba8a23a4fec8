import json
import os
import shlex
import sys
from pathlib import Path

import pandas as pd
from snakemake.utils import min_version

from virnucpro import __version__
from virnucpro.config import check_config, read_samples, read_training
from virnucpro.data.budget import estimate_memory
from virnucpro.errors import UserError
from virnucpro.encoders.names import local_checkpoint
from virnucpro.calling.requirements import DEFAULT as DEFAULT_CLASSIFIER, read_requirements
from virnucpro.pipeline.repair import repair

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


HERE = Path(workflow.basedir)

try:
    check_config(config, HERE / "workflow" / "schemas" / "config.schema.yaml")
    checkpoint_file = local_checkpoint(config["model"])
    classifier = (
        DEFAULT_CLASSIFIER
        if config["classifier"] == "default"
        else Path(config["classifier"])
    )
    samples = pd.DataFrame(columns=["sample", "fasta", "type"])
    read_files = workflow.is_main_process  # a job of a cluster reads its own alone
    if "samples" in config:
        samples = read_samples(
            Path(config["samples"]),
            HERE / "workflow" / "schemas" / "samples.schema.yaml",
            read_files,
        )
    training = None
    if "training" in config:
        training = read_training(Path(config["training"]), read_files)
    if config["call"] and (samples["type"] == "contigs").any():
        read_requirements(classifier).check_config(config)
except UserError as error:
    sys.exit(f"virnucpro: error: {error}")


wildcard_constraints:
    sample="[^/]+",
    shard="[0-9]+",


include: "workflow/rules/common.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/pack.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/call.smk"
include: "workflow/rules/summary.smk"


if training is not None:

    include: "workflow/rules/train.smk"


check_gpus()
if workflow.is_main_process:
    os.environ.update(VIRNUCPRO_COMMAND=shlex.join(sys.argv))  # for the provenance
if starts_jobs():
    warned = Path(".snakemake", "virnucpro.warned").absolute()
    warned.unlink(missing_ok=True)
    os.environ.update(
        VIRNUCPRO_WARNED=str(warned)
    )  # what one job has warned, no other says again
    for sample in samples["sample"]:
        for line in repair(Path(OUT, sample), Path(OUT, "model.json")):
            print(f"virnucpro: warning: {line}", file=sys.stderr)

# The rules run the package that lies beside this file, in whichever environment they are.
here = shlex.quote(str(HERE)).replace("{", "{{").replace("}", "}}")
shell.prefix(f"set -euo pipefail; export PYTHONPATH={here}; ")


rule all:
    default_target: True
    input:
        expand(f"{OUT}/{{sample}}/embeddings.h5", sample=samples["sample"]),
        expand(f"{OUT}/{{sample}}/contigs.tsv", sample=called_samples()),
        f"{OUT}/summary.tsv",
    localrule: True


onsuccess:
    if "summary" in {job.rule.name for job in workflow.dag.jobs}:
        print(Path(OUT, "summary.txt").read_text())
