"""Fit the function head: categories of proteins, judged on clusters that the networks have not seen."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from virnucpro.calling.result_files import CELLULAR
from virnucpro.data.arrays import Floats, Mask, Rows
from virnucpro.naming.heads import NEVER
from virnucpro.training.heads import FittedHead, Sets, fit_head, limit_for

FOLDS = 5
HIDDEN, EPOCHS = 256, 12
UNNAMED = ("other",)  # categories that no gene is given
CONTRADICTED = (0.02, 0.93)  # a label is wrong if networks give it less than the first, another more than the second


class FittedFunctions(NamedTuple):
    """The function head and what it was measured by.

    Attributes:
        head: of the categories, in their order.
        categories, limits: names, and the probabilities from which they are given.
        measured: a row a category: `proteins`, representatives of near-copies with this label; `clusters` that they
            are in; `named`, the proportion of them that are given it; `right`, the proportion of all that are given it
            whose label allows it.
        contradicted: which proteins have labels that were found wrong and not learned from, bool [proteins].
    """

    head: FittedHead
    categories: list[str]
    limits: list[float]
    measured: pd.DataFrame
    contradicted: Mask


def fit_functions(inputs: Rows, proteins: pd.DataFrame, seed: int) -> FittedFunctions:
    """Fit the function head.

    Networks are fitted twice: the second time without the labels that the first ones, which have not seen the cluster,
    contradict.

    Args:
        inputs: of `protein_inputs`, float32 [proteins, inputs].
        proteins: columns `category`, several joined by `|` where the label is a vague one; `cluster`, at 30 % identity;
            `copies`, a name that near-copies share.
        seed: of the folds and networks.
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
    """Return weights: near-copies count as one protein, and those of a cluster as the square root of their number."""
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
