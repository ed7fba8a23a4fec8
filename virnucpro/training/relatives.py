"""Fragments that would spoil a training, found by what their proteins share with those of other fragments.

Genomes of cells hold prophages, and some plasmids are phages: labelled cellular, they would teach that viruses are
cells. And viruses for training may be close to viruses for testing although their groups have different names: the test
would then not tell how unseen viruses fare. Cells are kept whatever they share: all cells have proteins in common.
"""

from collections.abc import Sequence
from itertools import compress

import numpy as np
import pandas as pd

from virnucpro.data.arrays import Integers, Mask

K = 7  # residues; two unrelated proteins of 300 have one in common about once in ten thousand pairs
KNOWN = 0.3  # share of a protein's k-mers from which it is taken for a virus's
FEWEST_KNOWN = 2  # such proteins, and this share of all, make a cellular fragment a virus's
KNOWN_PROTEINS = 0.15
CLOSE = 0.05  # share of a fragment's k-mers from which it is close to the test

_POWERS = 27 ** np.arange(K, dtype=np.int64)

Kmers = Integers


def kmers_of(sequence: str) -> Kmers:
    """Return the distinct k-mers of a protein as sorted numbers, int64 [k-mers]."""
    if len(sequence) < K:
        return np.empty(0, np.int64)
    letters = np.frombuffer(sequence.encode(), np.uint8).astype(np.int64) - (ord("A") - 1)
    return np.unique(np.lib.stride_tricks.sliding_window_view(letters, K) @ _POWERS)


def spoilt_fragments(fragments: pd.DataFrame, contig: pd.Series, sequences: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of fragments for training that should take no part in it, by the reason.

    The fragments are by name, with columns `label` and `split`; `contig` is the fragment of every protein.
    """
    kmers = [kmers_of(sequence) for sequence in sequences]
    of_protein = fragments.loc[contig]
    viral = (of_protein["label"] == "viral").to_numpy()
    train = (of_protein["split"] == "train").to_numpy()
    table = pd.DataFrame({"contig": contig.to_numpy(), "kmers": [len(found) for found in kmers]})
    table["known"] = _shared(kmers, of=train & ~viral, among=train & viral) >= KNOWN * table["kmers"].clip(lower=1)
    table["close"] = _shared(kmers, of=train & viral, among=~train & viral)
    by_fragment = table.groupby("contig")
    known, close = by_fragment["known"].agg(["sum", "size"]), by_fragment[["close", "kmers"]].sum()
    cellular = known["sum"] >= np.maximum(FEWEST_KNOWN, KNOWN_PROTEINS * known["size"])
    near = (close["close"] > 0) & (close["close"] >= CLOSE * close["kmers"])
    return {
        "cellular, but with proteins of viruses": list(known.index[cellular]),
        "viral, and close to viruses of the test": list(close.index[near]),
    }


def _shared(kmers: Sequence[Kmers], of: Mask, among: Mask) -> Kmers:
    """Return how many k-mers of some proteins others have too, int64 [proteins]; 0 for all but those."""
    known = np.unique(np.concatenate([np.empty(0, np.int64), *compress(kmers, among)]))
    shared = np.zeros(len(kmers), np.int64)
    if len(known):
        for row in np.flatnonzero(of).tolist():
            place = np.searchsorted(known, kmers[row]).clip(max=len(known) - 1)
            shared[row] = (known[place] == kmers[row]).sum()
    return shared
