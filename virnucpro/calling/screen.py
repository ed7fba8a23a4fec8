"""Screen: genes of cells are recognized by their composition, so that the encoder does not have to embed them.

A screen is a classifier over the composition of proteins, and much faster than an encoder. It scores windows of
neighboring genes, so that proviruses in chromosomes are embedded. Genes in clearly cellular windows alone keep the
log-odds of the screen.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from virnucpro.calling.classifier import Classifier, read_safetensors
from virnucpro.calling.evidence import EVIDENCE, describe_groups, evidence_of_contigs
from virnucpro.data.arrays import Floats, Integers, Mask, Rows
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError
from virnucpro.proteins.composition import WIDTH, composition
from virnucpro.proteins.table import blocks_of_contigs, first_rows, read_residues

SCREENED = "screened.tsv"  # table of the genes that were not embedded, in the folder of a sample below `work`
BLOCK = 10_000  # approximate number of genes that are screened at once
WINDOW = 20  # genes
NOTHING = pd.Series(dtype=np.float64).rename_axis("protein").rename("log_odds")
CELLULAR_TO = -2.0  # log-odds of clearly cellular windows; the model card has the viruses that this loses


def load_screen(path: Path) -> Classifier:
    """Read a screen that a training wrote.

    Raises:
        UserError: The file is missing or damaged, or is not a screen.
    """
    screen = read_safetensors(path, Classifier)
    if screen.mean.shape != (WIDTH + 1,) or screen.contig_weight.shape != (len(EVIDENCE),):
        raise UserError(f"{path}: not a screen of this version; train it again, or set screen to none")
    return screen


def screen_genes(screen: Classifier, genes: pd.DataFrame, prepared: Path) -> "pd.Series[float]":
    """Return the log-odds of the genes of a sample that need no embedding, by the names of their proteins.

    `genes` is the table of all proteins; `prepared` has the files of stage prepare.
    """
    records = read_table(prepared / "records.tsv", "record").set_index("record")
    circles = records.index[records["circular"] == 1]
    found = []
    for rows in blocks_of_contigs(genes["contig"], BLOCK):
        block = genes.iloc[rows]
        log_odds = screen.protein_log_odds(screen_inputs(read_residues(prepared / "proteins.faa", block)))
        is_cellular = cellular_genes(screen, block, log_odds, records["length"], circles)
        found.append(pd.Series(log_odds, block["protein"], name="log_odds").round(3)[is_cellular])
    return pd.concat(found) if found else NOTHING


def read_screened(work: Path) -> "pd.Series[float]":
    """Return what `screen_genes` returned for a sample; `work` is its folder below `work`."""
    return read_table(work / SCREENED, "protein").set_index("protein")["log_odds"].astype(np.float64)


def screen_inputs(proteins: Sequence[bytes]) -> Rows:
    """Return the inputs of a screen, float32 [proteins, 2149]: composition, and the logarithm of the residues."""
    return np.column_stack([composition(proteins), np.log(np.array(list(map(len, proteins)), np.float32))])


def cellular_genes(
    screen: Classifier,
    genes: pd.DataFrame,
    log_odds: Floats,
    lengths: "pd.Series[int]",
    circles: Collection[str] = (),
) -> Mask:
    """Return which genes are in clearly cellular windows alone, bool [genes].

    Args:
        genes: Table of proteins; genes of one contig are in neighboring rows.
        log_odds: Log-odds of the genes by the screen, float64 [genes].
        lengths: Lengths of contigs in bases, by their names.
        circles: Names of circular contigs; their windows continue at the origin.
    """
    rows, window = windows_of(genes["contig"], circles)
    first, last = (rows[at] for at in _ends(window))
    length = lengths.reindex(genes["contig"].iloc[first]).to_numpy()
    bases = genes["end"].to_numpy()[last] - genes["start"].to_numpy()[first]
    is_whole = np.bincount(window) == genes.groupby("contig")["contig"].transform("size").to_numpy()[first]
    bases = np.where(is_whole, length, bases % length)
    of_windows = describe_groups(genes.iloc[rows].assign(contig=window, group=np.arange(len(rows))))
    evidence = evidence_of_contigs(
        of_windows, log_odds[rows], pd.Series(bases, dtype="int64"), screen.requirements.most_genes
    )
    highest = np.full(len(genes), -np.inf)
    np.maximum.at(highest, rows, screen.contig_log_odds(evidence[EVIDENCE].to_numpy(np.float64))[window])
    return np.asarray(highest <= CELLULAR_TO)


def windows_of(contigs: "pd.Series[str]", circles: Collection[str] = ()) -> tuple[Integers, Integers]:
    """Return the rows of the genes of all windows of 20 genes, and the window of each row, two int64 arrays.

    Windows begin at each gene. A contig of fewer genes is one window.

    Examples:
        21 genes of a contig are in two windows, and its neighbor's only gene is in a third.

        >>> rows, window = windows_of(pd.Series(["a"] * 21 + ["b"]))
        >>> [rows[window == number][[0, -1]].tolist() for number in range(3)]
        [[0, 19], [1, 20], [21, 21]]
    """
    first = first_rows(contigs)
    genes = np.diff(first, append=len(contigs))
    size = np.minimum(genes, WINDOW)
    is_circle = contigs.iloc[first].isin(circles).to_numpy()
    starts = np.where(is_circle & (genes > WINDOW), genes, genes - size + 1)
    contig = np.repeat(np.arange(len(first)), starts)
    window = np.repeat(np.arange(len(contig)), size[contig])
    of = contig[window]
    begin = _count_from_zero(starts)[window]
    return first[of] + (begin + _count_from_zero(size[contig])) % genes[of], window


def _count_from_zero(sizes: Integers) -> Integers:
    """Return 0, 1, ... for each size, one after another."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _ends(window: Integers) -> tuple[Integers, Integers]:
    """Return the places of the first and the last row of each window."""
    changes = np.flatnonzero(np.diff(window))
    return np.r_[0, changes + 1], np.r_[changes, len(window) - 1]
