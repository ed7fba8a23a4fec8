"""Fit networks to proteins and a regression to contigs, both cross-fitted: no group is scored by a model that saw it.

Whole groups of organisms are dealt to folds. Each fold has a network that learns from all other folds and scores the
proteins of this fold. Networks train for a fixed number of epochs: early stopping on a fold would leak its labels.
The regression over contigs learns from these scores and is cross-fitted with the same folds. All randomness comes from
the seed.
"""

import logging
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from torch import nn

from virnucpro.calling.classifier import standardize
from virnucpro.data.arrays import Floats, Integers, Mask, Rows
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

FOLDS = 5  # most folds
HIDDEN = 128
DROPOUT = 0.4
BATCH = 512
EPOCHS = 10
FEWEST_BATCHES = 300  # a small training has more epochs
LEARNING_RATE = 2e-3  # peak of a schedule that rises and falls once
WEIGHT_DECAY = 0.01
REGULARIZATION = 0.3  # scikit-learn's C of the regression; gave the best fdr estimates in cross-validation


class Fitted(NamedTuple):
    """Arrays of a `Classifier` by their names, and cross-fitted log-odds of the training rows."""

    arrays: dict[str, Any]
    log_odds: Floats


def deal_groups(groups: npt.NDArray[np.str_], labels: Integers, kinds: npt.NDArray[np.str_], seed: int) -> Integers:
    """Deal whole groups of organisms to folds, balanced by kind of organism.

    Groups of one kind are dealt largest first, each to the fold with the fewest rows of this kind. Ties go to the fold
    with the fewest rows of the same label. The number of folds is the number of groups of the rarer label, at most 5,
    so that every fold has groups of both labels.

    Args:
        labels: Label of every row, 0 or 1; one per group.
        kinds: Kind of organism of every row; one per group.
        seed: Decides the order of equally large groups.

    Returns:
        Fold of every row, int64 [rows].

    Raises:
        UserError: A label has fewer than two groups.

    Examples:
        Groups b and c are smaller than a and share a fold. The cellular groups x and y are in different folds.

        >>> groups, labels = np.array([*"aaabcxxy"]), np.array([1, 1, 1, 1, 1, 0, 0, 0])
        >>> deal_groups(groups, labels, kinds=labels.astype(str), seed=0).tolist()
        [0, 0, 0, 1, 1, 0, 0, 1]
    """
    rng = np.random.default_rng(seed)
    counts = [len(np.unique(groups[labels == label])) for label in (0, 1)]
    for name, count in zip(("cellular", "viral"), counts, strict=True):
        if count < 2:
            raise UserError(f"training needs two or more {name} groups with proteins, found {count}; add groups")
    fold_count = min(FOLDS, *counts)
    folds = np.empty(len(groups), np.int64)
    of_label = np.zeros((2, fold_count))
    for kind in np.unique(kinds):
        names, sizes = np.unique(groups[kinds == kind], return_counts=True)
        of_kind = np.zeros(fold_count)
        for index in np.lexsort((rng.random(len(names)), -sizes)):
            rows = groups == names[index]
            label = labels[rows][0]
            fold = np.lexsort((of_label[label], of_kind))[0]
            folds[rows] = fold
            of_kind[fold] += sizes[index]
            of_label[label, fold] += sizes[index]
    return folds


def group_weights(groups: npt.NDArray[np.str_], labels: Integers) -> Floats:
    """Return weights of rows, float64 [rows], with mean 1; labels have equal weight, and so have groups of a label."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    weights = np.asarray(1 / sizes[group])
    for label in np.unique(labels):
        weights[labels == label] /= weights[labels == label].sum()
    return np.asarray(weights / weights.mean())


def fit_proteins(inputs: Rows, labels: Integers | Floats, weights: Floats, folds: Integers, seed: int) -> Fitted:
    """Fit a network for each fold; log-odds of a protein are from the network that has not seen its fold.

    Args:
        inputs: Result of `protein_inputs`.
        labels: 1 for viral and 0 for cellular, or a probability between, [proteins].
        weights: float64 [proteins].
        folds: Result of `deal_groups`, int64 [proteins].
    """
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    standard = torch.tensor(standardize(inputs, mean, scale))  # an aligned copy: alignment changes the last digits
    target, weight = (torch.tensor(values, dtype=torch.float32) for values in (labels, weights))
    networks = [_fit_network(standard, target, weight, folds == fold, seed + fold) for fold in range(folds.max() + 1)]
    log_odds = np.empty(len(inputs))
    for fold, network in enumerate(networks):
        with torch.inference_mode():
            log_odds[folds == fold] = network(standard[folds == fold])[:, 0].numpy()
    names = ("0.weight", "0.bias", "3.weight", "3.bias")
    hidden, hidden_bias, output, output_bias = (
        np.array([network.state_dict()[name].numpy() for network in networks]) for name in names
    )
    arrays = {"mean": mean, "scale": scale, "hidden_weight": hidden.astype(np.float16), "hidden_bias": hidden_bias}
    return Fitted(arrays | {"output_weight": output[:, 0], "output_bias": output_bias[:, 0]}, log_odds)


def _fit_network(
    inputs: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, fold: Mask, seed: int
) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(inputs.shape[1], HIDDEN), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 1))
    rows = torch.from_numpy(np.flatnonzero(~fold))
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    batches = math.ceil(len(rows) / BATCH)
    epochs = max(EPOCHS, math.ceil(FEWEST_BATCHES / batches))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * batches)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in torch.split(rows[torch.randperm(len(rows))], BATCH):
            output = network(inputs[batch])[:, 0]
            losses = F.binary_cross_entropy_with_logits(output, target[batch], reduction="none")
            loss = losses @ weight[batch] / weight[batch].sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        if epoch % (epochs // EPOCHS) == 0:
            logger.info("train: network %d: epoch %d of %d, loss %.4f", seed, epoch, epochs, total / len(rows))
    return network.eval()


def fit_contigs(inputs: Floats, labels: Integers, weights: Floats, folds: Integers) -> Fitted:
    """Fit the regression over contigs to all folds; log-odds of a contig are from a fit without its fold.

    The inputs are the evidence of contigs, float64 [contigs, numbers]. Other arguments are as for `fit_proteins`.
    """
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    standard = (inputs - mean) / scale
    model, weighted = LogisticRegression(C=REGULARIZATION, max_iter=3000), {"sample_weight": weights}
    log_odds = cross_val_predict(
        model, standard, labels, cv=PredefinedSplit(folds), method="decision_function", params=weighted
    )
    model.fit(standard, labels, **weighted)
    arrays = {"mean": mean, "scale": scale, "weight": model.coef_[0], "bias": model.intercept_}
    return Fitted({f"contig_{name}": array.astype(np.float32) for name, array in arrays.items()}, log_odds)
