"""Results of a run in a few lines."""

import csv
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.cells import cell_len

from virnucpro.calling import CALLS, POOLED_FILES, not_pooled

SHOWN = 10  # most contigs that are shown
SHOWN_SAMPLES = 5  # most samples whose files are named
OF_SAMPLE = ["contigs.tsv", "genes.tsv", "genes.faa", "genes.gff3", "regions.tsv", "viral.fasta.gz", "embeddings.h5"]
OF_RUN = [*POOLED_FILES, "report.html", "summary.tsv", "left_out.tsv", "packing.svg"]


def describe_results(folder: Path, shown_folder: Path, samples: Sequence[str]) -> str:
    """Return the likeliest viral contigs, counts of all calls, and the files of results, with the folder as given."""
    called = [sample for sample in samples if (folder / sample / "contigs.tsv").exists()]
    calls: Counter[str] = Counter()  # and proviruses
    viral = heapq.nlargest(SHOWN, _viral(folder, called, calls), key=lambda row: float(row["log_odds"]))
    lines = []
    if viral:
        taxa = [([taxon for taxon in row["taxonomy"].split(";") if taxon] or ["not known"])[-1] for row in viral]
        rows = [(row["contig"], f"{int(row['length']):,} bp", row["score"], row["sample"]) for row in viral]
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        lines.append(f"the likeliest viruses of {calls['viral']:,}, with their scores, samples and taxa:")
        for (name, length, score, of_sample), taxon in zip(rows, taxa, strict=True):
            padding = " " * (widths[0] - cell_len(name))
            lines.append(f"  {name}{padding}  {length:>{widths[1]}}  {score}  {of_sample:{widths[3]}}  {taxon}")
        lines.append("")
    if called:
        counts = ", ".join(f"{calls[call]:,} {call}" for call in CALLS)
        proviruses = calls.pop("provirus", 0)
        lines.append(f"{counts} of {calls.total():,} contigs in {number_of(len(called), 'sample')}")
        if proviruses:
            lines.append(f"proviruses within contigs that are not called viral: {proviruses:,}")
    for sample in samples[:SHOWN_SAMPLES]:
        lines += _files(folder / sample, shown_folder / sample, OF_SAMPLE)
    if len(samples) > SHOWN_SAMPLES:
        lines.append(f"and the same of {number_of(len(samples) - SHOWN_SAMPLES, 'sample')} more")
    lines += _files(folder, shown_folder, OF_RUN)
    if others := not_pooled(folder / "work", samples):
        lines.append(f"not in these: {', '.join(others[:SHOWN])}{', ...' * (len(others) > SHOWN)}, of earlier runs")
    return "".join(f"{line}\n" for line in lines)


def _viral(folder: Path, samples: Sequence[str], calls: Counter[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of the contigs called viral, and count all calls and proviruses."""
    for sample in samples:
        with (folder / sample / "contigs.tsv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                calls[row["call"]] += 1
                calls["provirus"] += int(row["proviruses"])
                if row["call"] == "viral":
                    yield row | {"sample": sample}


def _files(folder: Path, shown_folder: Path, names: Sequence[str]) -> list[str]:
    there = [name for name in names if (folder / name).exists()]
    return [f"{shown_folder}/{', '.join(there)}"] if there else []


def number_of(count: int, noun: str) -> str:
    """Return a number with a noun, in the plural if need be.

    Examples:
        >>> number_of(1, "sample"), number_of(2000, "contig")
        ('1 sample', '2,000 contigs')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"
