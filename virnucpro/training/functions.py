"""Fit the function head: categories of proteins, evaluated on clusters that the networks have not seen."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from virnucpro.calling.result_files import CELLULAR
from virnucpro.data.arrays import Floats, Mask, Rows
from virnucpro.naming.heads import NEVER
from virnucpro.training.heads import FittedHead, Sets, fit_head, limit_for

FOLDS = 5
HIDDEN, EPOCHS = 256, 12
UNNAMED = ("other",)  # categories that are never named
# A label counts as wrong if its probability is below the first value, and another category's above the second.
CONTRADICTED = (0.02, 0.93)


class FittedFunctions(NamedTuple):
    """The function head and its evaluation.

    Attributes:
        head: Head of the categories, in their order.
        categories, limits: Names, and the lowest probabilities at which they are stated.
        measured: One row per category: `proteins`, proteins with this label, near-copies once; `clusters`, their number
            of clusters; `named`, the proportion of them that get the category; `right`, the proportion of proteins with
            the category whose label allows it.
        contradicted: Mask of proteins whose labels count as wrong and were not used, bool [proteins].
    """

    head: FittedHead
    categories: list[str]
    limits: list[float]
    measured: pd.DataFrame
    contradicted: Mask


def fit_functions(inputs: Rows, proteins: pd.DataFrame, seed: int) -> FittedFunctions:
    """Fit the function head.

    Networks are fitted twice. The second fit leaves out labels that the first networks contradict, on clusters that
    they have not seen.

    Args:
        inputs: Result of `protein_inputs`, float32 [proteins, inputs].
        proteins: Columns `category`, several joined by `|` for a vague label; `cluster`, at 30 % identity; `copies`, a
            name that near-copies share.
    """
    labels = [set(category.split("|")) for category in proteins["category"]]
    categories = sorted(set().union(*labels))
    allowed = np.array([[category in label for category in categories] for label in labels])
    _, cluster = np.unique(proteins["cluster"], return_inverse=True)
    folds = np.random.default_rng(seed).permutation(cluster.max() + 1)[cluster] % FOLDS
    sets = Sets(inputs, np.ones(len(inputs), np.int64), allowed, _weights(proteins), folds)
    first = fit_head(sets, HIDDEN, EPOCHS, seed).probabilities
    least, most = CONTRADICTED
    contradicted = ((first * allowed).sum(axis=1) < least) & (first.max(axis=1) > most)
    contradicted &= (proteins["category"] != CELLULAR).to_numpy()
    fitted = fit_head(sets._replace(weights=np.where(contradicted, 0, sets.weights)), HIDDEN, EPOCHS, seed)
    judged = ~contradicted & ~proteins.duplicated("copies").to_numpy()
    limits, measured = _judge(fitted.probabilities[judged], allowed[judged], categories, proteins[judged])
    return FittedFunctions(fitted, categories, limits, measured, contradicted)


def _weights(proteins: pd.DataFrame) -> Floats:
    """Return weights of proteins: near-copies count as one, and a cluster of n proteins weighs the square root of n."""
    copies = proteins.groupby("copies")["copies"].transform("size")
    different = proteins.groupby("cluster")["copies"].transform("nunique")
    return np.asarray(1 / (copies * np.sqrt(different)), np.float64)


def _judge(
    probabilities: Rows, allowed: Mask, categories: list[str], proteins: pd.DataFrame
) -> tuple[list[float], pd.DataFrame]:
    best = probabilities.argmax(axis=1)
    score = probabilities[np.arange(len(best)), best]
    right = allowed[np.arange(len(best)), best]
    limits, rows = [], []
    for number, category in enumerate(categories):
        given = best == number
        limit = NEVER if category in UNNAMED else limit_for(score[given], right[given])
        named = given & (score >= limit)
        own = (proteins["category"] == category).to_numpy()
        clusters = proteins.loc[own, "cluster"].nunique()
        share_right = round(right[named].mean(), 4) if named.any() else None
        rows.append((category, own.sum(), clusters, round((named & own).sum() / max(1, own.sum()), 4), share_right))
        limits.append(limit)
    return limits, pd.DataFrame(rows, columns=["category", "proteins", "clusters", "named", "right"])
