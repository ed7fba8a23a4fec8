import os

import pandas as pd
from snakemake.utils import min_version, validate

from virnucpro import __version__

min_version("9.27")


configfile: "config/config.yaml"


validate(config, "workflow/schemas/config.schema.yaml")

samples = pd.read_csv(config["samples"], sep="\t", dtype=str, comment="#").set_index(
    "sample", drop=False
)
validate(samples, "workflow/schemas/samples.schema.yaml")


wildcard_constraints:
    sample="[^/]+",
    shard="[0-9]+",


include: "workflow/rules/common.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/pack.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/summary.smk"


rule all:
    default_target: True
    input:
        expand(f"{OUT}/{{sample}}/embeddings.h5", sample=samples["sample"]),
        f"{OUT}/summary.tsv",
    localrule: True


onsuccess:
    print(open(f"{OUT}/summary.txt").read())
