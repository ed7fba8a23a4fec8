"""fragment: cut labeled genomes into fragments as long as contigs of an assembly, with equal bases per group."""

import gzip
import logging
import math
from collections.abc import Hashable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from virnucpro.config import read_training
from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import atomic_path, file_digest
from virnucpro.data.provenance import begin_writing, write_provenance
from virnucpro.data.tables import write_table
from virnucpro.errors import UserError
from virnucpro.training.evaluation import SHORTEST

logger = logging.getLogger(__name__)

LONGEST = 40_000  # bases
TEST_DIVISOR = 2  # a test group has half as many bases as a training group


def fragment(sheet: Path, fasta: Path, table: Path, bases: int, seed: int) -> None:
    """Divide the records of a table into fragments and write a random choice, with equal bases per group.

    Lengths are log-uniform from 500 to 40,000 bases; a shorter record is one fragment. Fragments of a record do not
    overlap. They are drawn in rounds: in each round every record of the group gives one.

    The output is FASTA (gzip) with names fragment_1 and so on, and a table: fragment, fasta, record, label, group,
    kind, split, start and end (half-open, from 0). The record of the stage is in the same folder.

    Args:
        sheet: Table of labeled files and records, see config/README.md.
        bases: Approximate bases of a training group; a test group has half.

    Raises:
        UserError: The table is not valid, a record is not in its file, or a group has no sequence; or all training
            fragments of a label are too short for an evaluation.
    """
    record = fasta.with_name("fragment.json")
    labelled = read_training(sheet)
    begin_writing(record, [fasta, table])
    inputs = {str(path): file_digest(Path(path)) for path in sorted(set(labelled["fasta"]))}
    rng = np.random.default_rng(seed)
    chosen = []
    for group, rows in labelled.groupby("group", sort=True):
        wanted = bases if rows["split"].iloc[0] == "train" else bases // TEST_DIVISOR
        pieces = [list(_pieces(record, rng)) for record in _records(rows)]
        if not any(pieces):
            raise UserError(f"training: the records of group {group} are empty; take it out of the table")
        taken = 0
        for depth in range(max(map(len, pieces))):
            for index in rng.permutation(len(pieces)):
                if taken < wanted and depth < len(pieces[index]):
                    chosen.append(pieces[index][depth])
                    taken += len(chosen[-1]["sequence"])
        logger.info("fragment: %s: %d bases of %d records", group, taken, len(pieces))
    fragments = pd.DataFrame(chosen)
    trained = fragments[fragments["split"] == "train"]
    for label, longest in (trained["end"] - trained["start"]).groupby(trained["label"]).max().items():
        if longest < SHORTEST:
            raise UserError(
                f"training: no {label} fragment to train on has {SHORTEST} bases or more, and shorter ones are not "
                "evaluated; add longer records, or raise training_bases"
            )
    fragments.insert(0, "fragment", [f"fragment_{number}" for number in range(1, len(fragments) + 1)])
    with atomic_path(fasta) as temporary, gzip.GzipFile(temporary, "wb", compresslevel=6, mtime=0) as file:
        for name, sequence in zip(fragments["fragment"], fragments["sequence"], strict=True):
            file.write(f">{name}\n{sequence}\n".encode())
    write_table(fragments.drop(columns="sequence"), table)
    inputs["sheet"] = file_digest(sheet)
    write_provenance(record, "fragment", {"bases": bases, "seed": seed}, inputs, [fasta, table])


def _records(rows: pd.DataFrame) -> Iterator[dict[Hashable, Any]]:
    """Yield the records of a group with their sequences; a row for a record comes before one for the whole file."""
    for fasta, of_file in rows.groupby("fasta", sort=False):
        row_of = {row["record"]: row for row in of_file.to_dict("records")}
        missing = row_of.keys() - {""}
        for name, sequence in read_fasta(str(fasta)):
            row = row_of.get(name, row_of.get(""))
            if row is not None:
                missing.discard(name)
                yield {**row, "record": name, "sequence": sequence}
        if missing:
            raise UserError(f"{fasta}: no record {min(missing)}, which the training sheet names")


def _pieces(record: dict[Hashable, Any], rng: np.random.Generator) -> Iterator[dict[Hashable, Any]]:
    """Yield a record's fragments in random order."""
    sequence = record["sequence"]
    borders = [0]
    while borders[-1] < len(sequence):
        length = math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST)))
        borders.append(min(borders[-1] + round(length), len(sequence)))
    spans = list(pairwise(borders))
    for index in rng.permutation(len(spans)):
        start, end = spans[index]
        if end - start >= min(SHORTEST, len(sequence)):
            yield {**record, "start": start, "end": end, "sequence": sequence[start:end]}
