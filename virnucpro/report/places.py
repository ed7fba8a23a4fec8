"""Where the map of a run puts each contig: two dimensions of the mean embeddings of their proteins."""

from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from virnucpro.data.arrays import Floats, Rows
from virnucpro.data.embeddings import EmbeddingFile

MOST_PLACED = 20_000  # contigs
FEWEST_PLACED = 3
BLOCK = 4096  # rows of embeddings read at once


def mean_embeddings(embeddings: Path, spans: Mapping[Hashable, tuple[int, int]]) -> dict[Hashable, Rows]:
    """Return the mean embedding of the proteins of contigs, float32 [layers x embed_dim], by the keys of their spans.

    A span is the first row of a contig in embeddings.h5 of a sample, and the one behind its last.
    """
    file = EmbeddingFile(embeddings)
    means = {}
    for key, (begin, end) in spans.items():
        total = np.zeros(int(np.prod(file.row_shape)), np.float64)
        for first in range(begin, end, BLOCK):
            rows = file.rows(np.arange(first, min(end, first + BLOCK)))
            total += rows.reshape(len(rows), -1).sum(axis=0, dtype=np.float64)
        means[key] = (total / (end - begin)).astype(np.float32)
    return means


def choose_evenly(contigs: pd.DataFrame) -> pd.DataFrame:
    """Return the contigs with proteins that the map shows: all, or so many, evenly spaced from likely to unlikely."""
    contigs = contigs[contigs["genes"] > 0]
    count = min(len(contigs), MOST_PLACED)
    return contigs.iloc[np.linspace(0, len(contigs) - 1, count).astype(int)] if count else contigs


def place(means: Rows) -> tuple[Floats, list[str], str]:
    """Return two coordinates of each contig, the names of the axes, and of the method, for float32 [contigs, numbers].

    UMAP where it is installed, else the first two principal components.
    """
    try:
        from umap import UMAP  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError:
        components = PCA(2, random_state=0).fit(means)
        shares = components.explained_variance_ratio_
        axes = [f"component {number}: {share:.0%} of the variance" for number, share in enumerate(shares, 1)]
        return np.asarray(components.transform(means), np.float64), axes, "the principal components"
    placed = UMAP(n_neighbors=min(15, len(means) - 1), random_state=0, n_jobs=1).fit_transform(means)
    return np.asarray(placed, np.float64), ["UMAP 1", "UMAP 2"], "UMAP"
