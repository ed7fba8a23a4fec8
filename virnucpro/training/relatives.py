"""Fragments that would spoil a training, found by what their proteins share with those of other fragments.

Genomes of cells hold prophages, and some plasmids are phages: labeled cellular, they would teach that viruses are
cells. And groups for training may be close to groups for testing although they have different names: the test would
then not show how unseen groups fare. So fragments for training that are close to test fragments of their label are left
out.
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
CLOSE = 0.05  # proportion of a fragment's k-mers from which it is close to the test

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
    near_viruses, near_cells = (_shared(kmers, of=train & label, among=~train & label) for label in (viral, ~viral))
    table["close"] = near_viruses + near_cells
    by_fragment = table.groupby("contig")
    known, close = by_fragment["known"].agg(["sum", "size"]), by_fragment[["close", "kmers"]].sum()
    cellular = known["sum"] >= np.maximum(FEWEST_KNOWN, KNOWN_PROTEINS * known["size"])
    near = (close["close"] > 0) & (close["close"] >= CLOSE * close["kmers"])
    return {
        "cellular, but with proteins of viruses": list(known.index[cellular]),
        "close to test fragments of their label": list(close.index[near]),
    }


def masked_fragments(fragments: pd.DataFrame, sheet: pd.DataFrame) -> list[str]:
    """Return the names of fragments that overlap a span which the table of labeled files masks, such as a prophage.

    The fragments have columns `fragment`, `fasta`, `record`, `start` and `end`; the sheet is of `read_training`.

    Examples:
        >>> columns = {"fasta": "f", "record": "r", "start": [0, 900], "end": [900, 2000], "fragment": ["one", "two"]}
        >>> sheet = pd.DataFrame({"fasta": ["f"], "record": ["r"], "mask": ["901-950,1800-3000"]})
        >>> masked_fragments(pd.DataFrame(columns), sheet)
        ['two']
    """
    spans = sheet[sheet["mask"] != ""].assign(span=lambda table: table["mask"].str.split(",")).explode("span")
    first_last = spans["span"].str.split("-", expand=True).reindex(columns=[0, 1]).astype(float)  # from 1, inclusive
    spans = spans[["fasta", "record"]].assign(first=first_last[0], last=first_last[1])
    pairs = fragments[["fragment", "fasta", "record", "start", "end"]].merge(spans, on=["fasta", "record"])
    overlapping = (pairs["start"] < pairs["last"]) & (pairs["first"] <= pairs["end"])
    return sorted(set(pairs.loc[overlapping, "fragment"]))


def _shared(kmers: Sequence[Kmers], of: Mask, among: Mask) -> Kmers:
    """Return how many k-mers of some proteins others have too, int64 [proteins]; 0 for all but those."""
    known = np.unique(np.concatenate([np.empty(0, np.int64), *compress(kmers, among)]))
    shared = np.zeros(len(kmers), np.int64)
    if len(known):
        for row in np.flatnonzero(of).tolist():
            place = np.searchsorted(known, kmers[row]).clip(max=len(known) - 1)
            shared[row] = (known[place] == kmers[row]).sum()
    return shared
