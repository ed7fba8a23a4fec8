"""Call contigs from their proteins: evidence, classifiers, calls and regions."""

from collections.abc import Container
from pathlib import Path

CALLS = ("viral", "cellular", "unresolved")

# Highest false discovery rates of viral calls, by the names of geNomad's presets.
SENSITIVITIES = {"conservative": 0.05, "default": 0.1, "relaxed": 0.2}

# Shortest lengths, in bases, of the classes of contigs that a classifier is evaluated on.
LENGTHS = {"0.5 to 1.5 kb": 500, "1.5 to 3 kb": 1_500, "3 to 10 kb": 3_000, "from 10 kb": 10_000}

# Files that stage call writes into a sample's folder.
REGION_FILES = ("regions.tsv", "regions.gff3", "regions.bed", "viral.fasta.gz", "viral.gbk")
CALL_FILES = ("contigs.tsv", "genes.tsv", "genes.faa", "genes.gff3", *REGION_FILES, "miuvig.tsv")
# Files with the calls of all samples, in the folder of the run.
POOLED_FILES = ("viral.tsv", "viral.fasta.gz")
# Further files of a call by a classifier of the original VirNucPro, in the original's formats.
PREDICTION_FILES = ("prediction_results.txt", "prediction_results_highestscore.csv")


def not_pooled(work: Path, samples: Container[str]) -> list[str]:
    """Return the samples of earlier runs whose calls are missing in the pooled files of a run.

    Args:
        work: Folder `work` of the run.
        samples: Samples of the run.
    """
    called = (record.parent.name for record in work.glob("*/call.json"))
    return sorted(sample for sample in called if sample not in samples)
