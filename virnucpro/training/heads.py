"""Fit heads: networks over sets of genes, cross-fitted so that no network scores relatives of its training sets."""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax
from torch import nn

from virnucpro.calling.classifier import standardize
from virnucpro.data.arrays import Floats, Integers, Mask, Rows
from virnucpro.naming.heads import NEVER, Head

DROPOUT = 0.5
BATCH = 256
LEARNING_RATE = 2e-3  # peak of a schedule that rises and falls once
WEIGHT_DECAY = 0.02
PRECISION = 0.95  # lowest proportion of statements that are right
LEAST = 0.5  # lowest probability of a statement
FEWEST = 5  # fewest statements for an estimate of precision


class Sets(NamedTuple):
    """Labeled sets of genes: the genes of a fragment for taxa, a single gene for functions.

    Attributes:
        inputs: Result of `protein_inputs`, float32 [genes, inputs]; genes of one set are in neighboring rows.
        sizes: Number of genes of each set, int64 [sets].
        allowed: Classes that a set's label allows, bool [sets, classes]; several for a vague label.
        folds: Folds of the sets, int64 [sets]; relatives are in one fold.
    """

    inputs: Rows
    sizes: Integers
    allowed: Mask
    weights: Floats
    folds: Integers


class FittedHead(NamedTuple):
    """A head, and the cross-fitted probabilities of its training sets."""

    head: Head
    probabilities: Rows


def fit_head(sets: Sets, hidden: int, epochs: int, seed: int) -> FittedHead:
    """Fit a network for each fold, to all other folds.

    The loss of a set is the negative logarithm of the summed probability of the classes that its label allows.
    """
    mean, scale = sets.inputs.mean(axis=0), sets.inputs.std(axis=0) + 1e-6
    standard = torch.tensor(standardize(sets.inputs, mean, scale))
    firsts = np.cumsum(sets.sizes) - sets.sizes
    probabilities = np.zeros(sets.allowed.shape, np.float32)
    networks = []
    for fold in range(sets.folds.max() + 1):
        network = _fit_network(standard, sets, sets.folds == fold, hidden, epochs, seed + fold)
        with torch.inference_mode():
            logits = np.add.reduceat(network(standard).numpy(), firsts) / np.sqrt(sets.sizes)[:, None]
        held_out = sets.folds == fold
        probabilities[held_out] = softmax(logits[held_out], axis=1)
        networks.append({name: value.numpy() for name, value in network.state_dict().items()})
    arrays = [np.array([one[name] for one in networks]) for name in ("0.weight", "0.bias", "3.weight", "3.bias")]
    arrays[0] = arrays[0].astype(np.float16)
    return FittedHead(Head(mean, scale, *arrays), probabilities)


def _fit_network(
    standard: torch.Tensor, sets: Sets, held_out: Mask, hidden: int, epochs: int, seed: int
) -> nn.Sequential:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    classes = sets.allowed.shape[1]
    network = nn.Sequential(
        nn.Linear(standard.shape[1], hidden), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(hidden, classes)
    )
    chosen = np.flatnonzero(~held_out & (sets.weights > 0))
    batches = math.ceil(len(chosen) / BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * batches)
    firsts = np.cumsum(sets.sizes) - sets.sizes
    forbidden = torch.tensor(np.where(sets.allowed, 0, -np.inf), dtype=torch.float32)
    weights = torch.tensor(sets.weights, dtype=torch.float32)
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(chosen), batches):
            sizes = sets.sizes[batch]
            owner = np.repeat(np.arange(len(batch)), sizes)
            rows = np.repeat(firsts[batch] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
            logits = torch.zeros(len(batch), classes).index_add(0, torch.tensor(owner), network(standard[rows]))
            log_p = F.log_softmax(logits / torch.tensor(sizes).sqrt()[:, None], dim=1)
            losses = -torch.logsumexp(log_p + forbidden[batch], dim=1)
            loss = losses @ weights[batch] / weights[batch].sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def limit_for(probabilities: Floats, right: Mask, precision: float = PRECISION) -> float:
    """Return the lowest probability, at least 0.5, above which statements reach a precision; 2 if none does.

    Precision is measured on 5 or more statements.

    Examples:
        The eight most probable statements, down to 0.92, are right. With the ninth, precision is 8 / 9.

        >>> limit_for(np.linspace(0.99, 0.9, 10), np.arange(10) < 8)
        0.92
    """
    order = np.argsort(-probabilities, kind="stable")
    count = np.arange(1, len(order) + 1)
    ends = np.flatnonzero((np.cumsum(right[order]) >= precision * count) & (count >= FEWEST))
    return max(LEAST, math.floor(1e4 * probabilities[order[ends[-1]]]) / 1e4) if len(ends) else NEVER
