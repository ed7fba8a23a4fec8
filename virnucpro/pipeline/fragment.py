"""fragment: labelled genomes to pieces as long as the contigs of an assembly, the same share of each group."""

import gzip
import logging
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import atomic_path
from virnucpro.data.tables import write_table
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

SHORTEST, LONGEST = 1_500, 40_000  # bases
TEST_SHARE = 5  # a group that only tests gets this part of the bases that one for training gets


def fragment(sheet: pd.DataFrame, fasta: Path, table: Path, bases: int, seed: int) -> None:
    """Cut the records of a sheet into fragments and write a random choice of them, the same bases for each group.

    Lengths are log-uniform from 1,500 to 40,000 bases. Fragments of one record do not overlap, and the records of a
    group take turns. Writes the fragments as FASTA (gzip), named fragment_1 and so on, and a table: fragment, fasta,
    record, start and end (half-open, from 0), label, group, host and split.

    Args:
        sheet: a row for each labelled file or record: `fasta`, `record` (empty: all), `label`, `group`, `host`,
            `split`.
        fasta: FASTA to write.
        table: TSV to write.
        bases: about so many of each group in training, a fifth of it of a group for testing.
        seed: of the random choice.

    Raises:
        UserError: a record of the sheet is not in its file.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for group, rows in sheet.groupby("group", sort=True):
        wanted = bases if rows["split"].iloc[0] == "train" else bases // TEST_SHARE
        pieces = [list(_pieces(record, rng)) for record in _records(rows)]
        taken = 0
        for depth in range(max(map(len, pieces), default=0)):
            for index in rng.permutation(len(pieces)):
                if taken < wanted and depth < len(pieces[index]):
                    chosen.append(pieces[index][depth])
                    taken += len(chosen[-1]["sequence"])
        logger.info("fragment: %s: %d bases of %d records", group, taken, len(pieces))
    fragments = pd.DataFrame(chosen)
    fragments.insert(0, "fragment", [f"fragment_{number}" for number in range(1, len(fragments) + 1)])
    with atomic_path(fasta) as temporary, gzip.GzipFile(temporary, "wb", compresslevel=6, mtime=0) as file:
        for name, sequence in zip(fragments["fragment"], fragments["sequence"], strict=True):
            file.write(f">{name}\n{sequence}\n".encode())
    write_table(fragments.drop(columns="sequence"), table)


def _records(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Yield the records of a group with their sequences."""
    for fasta, named in rows.groupby("fasta", sort=False):
        settings = named.iloc[0]
        wanted = set(named["record"]) - {""}
        missing = set(wanted)
        for name, sequence in read_fasta(str(fasta)):
            if not wanted or name in wanted:
                missing.discard(name)
                described = {key: settings[key] for key in ("label", "group", "host", "split")}
                yield {"fasta": str(fasta), "record": name, "sequence": sequence, **described}
        if missing:
            raise UserError(f"{fasta}: no record {min(missing)}, which the training sheet names")


def _pieces(record: dict[str, str], rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Yield a record's fragments in random order."""
    sequence = record["sequence"]
    cuts = [0]
    while cuts[-1] < len(sequence):
        length = math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST)))
        cuts.append(min(cuts[-1] + round(length), len(sequence)))
    spans = list(pairwise(cuts))
    for index in rng.permutation(len(spans)):
        start, end = spans[index]
        if end - start >= min(SHORTEST, len(sequence)):
            yield {**record, "start": start, "end": end, "sequence": sequence[start:end]}
