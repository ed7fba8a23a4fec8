"""Viral contigs and proviruses of all samples of a run: one table and one FASTA, likeliest first."""

import gzip
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pandas as pd
from Bio.bgzf import BgzfWriter

from virnucpro.calling.result_files import BLOCK, NAME_COLUMNS, REGION_COLUMNS
from virnucpro.data.tables import read_table, write_table
from virnucpro.errors import UserError

_NUMBERS = {"start", "end", "length", "genes"}


def pool_regions(folder: Path, samples: Sequence[str], table: Path, fasta: Path) -> None:
    """Write the rows of regions.tsv of all samples, and their sequences in the same order as BGZF.

    Rows are sorted by score, then by length, highest first. The columns are `sample` and the columns of regions.tsv.
    `name` is SAMPLE|NAME: it is unique, because names of samples have no `|`. Samples of Prodigal's proteins
    have rows, but no sequences.

    Args:
        folder: Folder of the run, with the samples' folders.
        samples: Samples with calls.

    Raises:
        UserError: The FASTA and the table of a sample do not belong together.
    """
    columns = [*REGION_COLUMNS, *NAME_COLUMNS]
    text = [name for name in columns if name not in _NUMBERS]
    tables = [read_table(folder / sample / "regions.tsv", *text).assign(sample=sample) for sample in samples]
    regions = pd.concat(tables, ignore_index=True)
    regions["name"] = regions["sample"] + "|" + regions["name"]
    evidence = regions[["score", "length"]].astype(float)
    order = evidence.sort_values(["score", "length"], ascending=False, kind="stable").index
    with tempfile.TemporaryFile(dir=folder) as unsorted, BgzfWriter(fasta) as pooled:
        copied = {sample: list(_copy(folder / sample / "viral.fasta.gz", sample, unsorted)) for sample in samples}
        expected = regions.loc[regions["sample"].map(copied).astype(bool), "name"].tolist()
        spans = {name: span for found in copied.values() for name, *span in found}
        if list(spans) != expected:
            raise UserError(f"{folder}: the sequences of viral.fasta.gz do not match regions.tsv; run call again")
        for start, end in (spans[name] for name in regions.loc[order, "name"] if name in spans):
            unsorted.seek(start)
            for at in range(start, end, BLOCK):
                pooled.write(unsorted.read(min(BLOCK, end - at)))
    write_table(regions.loc[order, ["sample", *columns]], table)


def _copy(fasta: Path, sample: str, target: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """Append the records of a sample to a file; yield the new name of each record, and its start and end in bytes."""
    name, start = "", target.tell()
    with gzip.open(fasta) as lines:
        for line in lines:
            if line.startswith(b">"):
                if name:
                    yield name, start, target.tell()
                line = b">%b|%b" % (sample.encode(), line[1:])
                name, start = line[1:].split()[0].decode(), target.tell()
            target.write(line)
    if name:
        yield name, start, target.tell()
