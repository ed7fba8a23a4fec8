"""Known viruses: k-mers of their proteins, names and lineages."""

import csv
import os
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.arrays import Floats, Integers
from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError
from virnucpro.naming import CLASSES, RANKS
from virnucpro.naming.kmers import Index, Kmers, Sketches, index

DEFAULT = Path(__file__).with_name("references.npz")

COLUMNS = ["record", "name", *RANKS, "species"]


@dataclass(frozen=True)
class RankModel:
    """Logistic regressions of the probability that a rank is right, over `virnucpro.naming.taxonomy.FEATURES`.

    Attributes:
        weights: Weights of the features, and last the bias, float64 [ranks, features + 1].
        limits: Lowest probability at which a rank is stated, float64 [ranks, classes of lengths].
    """

    weights: Floats
    limits: Floats


@dataclass(frozen=True)
class References:
    """Known viruses.

    Attributes:
        index: Index of their k-mers.
        table: One row each, in the order of their numbers: accession (`record`), `name`, and taxa from realm to
            species. A missing or unknown taxon is empty.
        ranks: Model fitted to these references; None for references of the user.
    """

    index: Index
    table: pd.DataFrame
    ranks: RankModel | None = None


def make_references(sketches: Sketches, table: pd.DataFrame) -> References:
    """Return references from their k-mers; owners are rows of the table, whose lineage columns may be missing."""
    return References(index(sketches), table.reindex(columns=COLUMNS, fill_value="").reset_index(drop=True))


def save_references(references: References, path: str | os.PathLike[str]) -> None:
    """Write references as a compressed .npz; k-mers are stored as differences, and numbers by byte, to be small."""
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
        UserError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kmers = np.cumsum(_joined(arrays["gaps"])).astype(np.uint32)
            starts = np.concatenate([[0], np.cumsum(_joined(arrays["sizes"]))]).astype(np.int64)
            members, sets = _joined(arrays["members"]), _joined(arrays["sets"])
            text = arrays["table"].tobytes().decode()
            ranks = RankModel(arrays["weights"], arrays["limits"]) if "weights" in arrays else None
        table = pd.read_csv(StringIO(text), sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
        references = References(Index(kmers, sets, starts, members), table, ranks)
        _check(references)
    except Exception as error:  # NumPy and pandas raise many exceptions
        problem = " ".join(str(error).split())
        raise UserError(f"{path}: not references written by virnucpro ({problem}); make them again") from None
    return references


def _check(references: References) -> None:
    """Raise a ValueError if numbers of the index point to nothing, or the table has other columns."""
    kmers, sets, starts, members = references.index
    if missing := [name for name in COLUMNS if name not in references.table]:
        raise ValueError(f"its table has no {', '.join(missing)}")
    for numbers, most in ((sets, len(starts) - 1), (members, len(references.table))):
        if (numbers >= most).any():
            raise ValueError("its index points to nothing")
    if len(kmers) != len(sets) or starts[-1] != len(members):
        raise ValueError("its index is not whole")
    ranks = references.ranks
    if ranks and (len(ranks.weights) != len(RANKS) or ranks.limits.shape != (len(RANKS), len(CLASSES))):
        raise ValueError("its model has other ranks")


def _planes(numbers: Integers | Kmers) -> npt.NDArray[np.uint8]:
    """Return numbers from 0 as bytes, uint8 [4, numbers]: the lowest bytes of all numbers, then the next ones."""
    return np.ascontiguousarray(numbers.astype("<u4").view(np.uint8).reshape(-1, 4).T)


def _joined(planes: npt.NDArray[np.uint8]) -> Integers:
    return np.ascontiguousarray(planes.T).view("<u4")[:, 0].astype(np.int64)
