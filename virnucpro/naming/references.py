"""Known viruses: the k-mers of their proteins, their names and their lineages."""

import csv
import os
import zlib
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.arrays import Floats, Integers
from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError
from virnucpro.naming import RANKS
from virnucpro.naming.kmers import Index, Kmers, Sketches, index

DEFAULT = Path(__file__).with_name("references.npz")

COLUMNS = ["record", "name", *RANKS, "species"]


@dataclass(frozen=True)
class RankModel:
    """Logistic regressions of the probability that a rank is right, by what a contig shares with its closest reference.

    Attributes:
        weights: of `virnucpro.naming.taxonomy.FEATURES`, and last the bias, float64 [ranks, features + 1].
        limits: probability from which a rank is stated, float64 [ranks, classes of lengths].
    """

    weights: Floats
    limits: Floats


@dataclass(frozen=True)
class References:
    """Known viruses.

    Attributes:
        index: which of them hold a k-mer.
        table: a row each, in the order of their numbers: accession (`record`), `name`, and its taxa from realm to
            species, empty where there is none or where it is not known.
        ranks: fitted to these references; None for references that a user adds.
    """

    index: Index
    table: pd.DataFrame
    ranks: RankModel | None = None


def make_references(sketches: Sketches, table: pd.DataFrame) -> References:
    """Return references from their k-mers, whose owners are the rows of the table; lineage columns may be missing."""
    return References(index(sketches), table.reindex(columns=COLUMNS, fill_value="").reset_index(drop=True))


def save_references(references: References, path: str | os.PathLike[str]) -> None:
    """Write references as a compressed .npz: k-mers as gaps and numbers as bytes of equal weight, which pack best."""
    parts = references.index
    text = references.table.to_csv(sep="\t", index=False, quoting=csv.QUOTE_NONE)
    arrays: dict[str, npt.NDArray[Any]] = {
        "gaps": _planes(np.diff(parts.kmers, prepend=np.uint32(0))),
        "sets": _planes(parts.sets),
        "sizes": _planes(np.diff(parts.starts)),
        "members": _planes(parts.members),
        "table": np.frombuffer(text.encode(), np.uint8),
    }
    if references.ranks:
        arrays |= {"weights": references.ranks.weights, "limits": references.ranks.limits}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # NumPy's stub


def load_references(path: str | os.PathLike[str]) -> References:
    """Read references.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kmers = np.cumsum(_joined(arrays["gaps"])).astype(np.uint32)
            starts = np.concatenate([[0], np.cumsum(_joined(arrays["sizes"]))]).astype(np.int64)
            members, sets = _joined(arrays["members"]), _joined(arrays["sets"])
            text = arrays["table"].tobytes().decode()
            ranks = RankModel(arrays["weights"], arrays["limits"]) if "weights" in arrays else None
    except (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not the references that virnucpro writes ({error}); make them again") from None
    table = pd.read_csv(StringIO(text), sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
    return References(Index(kmers, sets, starts, members), table, ranks)


def _planes(numbers: Integers | Kmers) -> npt.NDArray[np.uint8]:
    """Return whole numbers from 0 as bytes, uint8 [4, numbers]: the lowest bytes of all, then the next ones."""
    return np.ascontiguousarray(numbers.astype("<u4").view(np.uint8).reshape(-1, 4).T)


def _joined(planes: npt.NDArray[np.uint8]) -> Integers:
    return np.ascontiguousarray(planes.T).view("<u4")[:, 0].astype(np.int64)
