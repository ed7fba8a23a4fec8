"""Remove training fragments that are mislabeled or too close to test fragments, by shared k-mers of proteins.

Cellular genomes hold prophages, and some plasmids are phages. With the label cellular they would teach wrong labels.
Training groups may also be close to test groups with other names. The test would then not measure performance on unseen
groups, so training fragments close to test fragments of the same label are left out.
"""

import numpy as np
import pandas as pd

from virnucpro.data.arrays import Integers, Mask

K = 7  # residues; one in 10,000 pairs of unrelated proteins of 300 residues shares a k-mer
KNOWN = 0.3  # share of a protein's k-mers in viruses from which it counts as viral
# Lowest number and share of viral proteins in a cellular fragment that is left out.
FEWEST_KNOWN = 2
KNOWN_PROTEINS = 0.15
CLOSE = 0.05  # share of a fragment's k-mers from which it counts as close to the test

_POWERS = 27 ** np.arange(K, dtype=np.int64)


def kmers_of(sequence: bytes) -> Integers:
    """Return the distinct k-mers of a protein as sorted numbers, int64 [k-mers]."""
    if len(sequence) < K:
        return np.empty(0, np.int64)
    letters = np.frombuffer(sequence, np.uint8).astype(np.int64) - (ord("A") - 1)
    return np.unique(np.lib.stride_tricks.sliding_window_view(letters, K) @ _POWERS)


def spoilt_fragments(fragments: pd.DataFrame, proteins: pd.DataFrame) -> dict[str, list[str]]:
    """Return the names of training fragments to leave out, by reason.

    Args:
        fragments: Fragments by name; columns `label` and `split`.
        proteins: Columns `contig`, the name of the fragment, and `sequence`.
    """
    kmers = list(map(kmers_of, proteins["sequence"]))
    of_protein = fragments.loc[proteins["contig"]]
    viral = (of_protein["label"] == "viral").to_numpy()
    train = (of_protein["split"] == "train").to_numpy()
    table = pd.DataFrame({"contig": proteins["contig"].to_numpy(), "kmers": list(map(len, kmers))})
    owners, joined = np.repeat(np.arange(len(kmers)), table["kmers"]), np.concatenate([np.empty(0, np.int64), *kmers])

    def shared(of: Mask, among: Mask) -> Integers:
        """Return how many k-mers each protein of one mask shares with the proteins of another, int64 [proteins]."""
        rows = np.flatnonzero(of[owners])
        is_shared = np.isin(joined[rows], joined[among[owners]])
        return np.bincount(owners[rows[is_shared]], minlength=len(kmers))

    table["known"] = shared(of=train & ~viral, among=train & viral) >= KNOWN * table["kmers"].clip(lower=1)
    near_viruses, near_cells = (shared(of=train & label, among=~train & label) for label in (viral, ~viral))
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
    """Return the names of fragments that overlap a masked span of the table of labeled files, such as a prophage.

    Args:
        fragments: Columns `fragment`, `fasta`, `record`, `start` and `end`.
        sheet: Table of `read_training`.

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
