"""Fitting a classifier: networks over frames and a regression over contigs, cross-fitted by group of organisms.

Experts learn from the frames of all organisms, or of those of one kind of host. Groups are dealt to folds. For an
expert each network learns from all folds but one and stops early by that one, so that the log-odds of every frame for
training come from a network that has never seen its group; the regression over contigs learns from those. All
randomness comes from the seed.
"""

import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

from virnucpro.calling.classifier import Floats, standardise

logger = logging.getLogger(__name__)

FOLDS = 5
HIDDEN = 64
DROPOUT = 0.4
BATCH = 512
MOST_EPOCHS = 40
NEXT_TO_NOTHING = 1e-9  # weight of frames that are not in a expert
PATIENCE = 5  # epochs without a lower loss on the groups held out
REGULARISATION = 0.1  # scikit-learn's C of the regressions

Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FrameFit:
    """Networks and what they say of frames that they have not seen.

    Attributes:
        mean, scale: float32 [inputs], of the standardised inputs.
        networks: of each expert, one a fold.
        log_odds: float64 [frames, experts], each by the network of the fold that its group was held out in.
    """

    mean: Rows
    scale: Rows
    networks: list[list[nn.Sequential]]
    log_odds: Floats


def deal_groups(groups: npt.NDArray[np.str_], labels: Labels, seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of every row, int64 [rows]: whole groups, the largest first, each to the emptiest fold."""
    rng = np.random.default_rng(seed)
    folds = np.empty(len(groups), np.int64)
    for label in np.unique(labels):
        names, sizes = np.unique(groups[labels == label], return_counts=True)
        order = np.lexsort((rng.random(len(names)), -sizes))
        load = np.zeros(FOLDS)
        for name, size in zip(names[order], sizes[order], strict=True):
            fold = int(load.argmin())
            folds[groups == name] = fold
            load[fold] += size
    return folds


def group_weights(groups: npt.NDArray[np.str_], labels: Labels) -> Floats:
    """Return weights of rows, mean 1: both labels weigh the same, and within each all groups."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    weights = np.asarray(1 / sizes[group])
    for label in np.unique(labels):
        weights[labels == label] /= weights[labels == label].sum()
    return np.asarray(weights / weights.mean())


def fit_frames(
    inputs: Rows,
    labels: Labels,
    weights: Floats,
    folds: npt.NDArray[np.int64],
    experts: npt.NDArray[np.bool_],
    seed: int,
) -> FrameFit:
    """Fit a network for each expert and fold.

    Args:
        inputs: float32 [frames, inputs], of `frame_inputs`.
        labels: int64 [frames], 1 for viral.
        weights: float64 [frames].
        folds: int64 [frames], from 0 to FOLDS - 1.
        experts: bool [frames, experts], which frames each learns from.
        seed: of the networks' beginnings and of the batches.
    """
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    standard = torch.from_numpy(standardise(inputs, mean, scale))
    target = torch.tensor(labels, dtype=torch.float32)
    networks, log_odds = [], np.empty(experts.shape)
    for expert, of_expert in enumerate(experts.T):
        weight = torch.tensor(np.where(of_expert, weights, NEXT_TO_NOTHING), dtype=torch.float32)
        networks.append([_fit_network(standard, target, weight, folds == fold, seed + fold) for fold in range(FOLDS)])
        for fold, network in enumerate(networks[-1]):
            with torch.inference_mode():
                log_odds[folds == fold, expert] = network(standard[folds == fold])[:, 0].numpy()
    return FrameFit(mean, scale, networks, log_odds)


def _fit_network(
    inputs: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, fold: npt.NDArray[np.bool_], seed: int
) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(inputs.shape[1], HIDDEN), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        loss = F.binary_cross_entropy_with_logits(network(inputs[rows])[:, 0], target[rows], reduction="none")
        return (loss * weight[rows]).sum() / weight[rows].sum()

    train, validation = (torch.from_numpy(np.flatnonzero(rows)) for rows in (~fold, fold))
    best, best_loss, best_epoch = network.state_dict(), float("inf"), 0
    for epoch in range(MOST_EPOCHS):
        network.train()
        for rows in torch.split(train[torch.randperm(len(train))], BATCH):
            optimizer.zero_grad()
            loss_of(rows).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            loss = float(loss_of(validation))
        if loss < best_loss:
            best, best_loss, best_epoch = copy.deepcopy(network.state_dict()), loss, epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    network.load_state_dict(best)
    logger.info("train: network %d: stopped at epoch %d, loss %.4f on its groups held out", seed, best_epoch, best_loss)
    return network


def fit_frames_linear(inputs: Rows, labels: Labels, weights: Floats, folds: npt.NDArray[np.int64]) -> Floats:
    """Return the cross-fitted log-odds of frames by a linear model, float64 [frames, 1], to compare networks with."""
    standard = standardise(inputs, inputs.mean(axis=0), inputs.std(axis=0) + 1e-6)
    log_odds = np.empty(len(inputs))
    for train, test in _splits(folds):
        model = LogisticRegression(C=REGULARISATION / 100, max_iter=200)
        model.fit(standard[train], labels[train], sample_weight=weights[train])
        log_odds[test] = model.decision_function(standard[test])
    return log_odds[:, None]


@dataclass(frozen=True)
class ContigFit:
    """A regression over contigs, float32 [inputs] and [1], and its cross-fitted log-odds, float64 [contigs]."""

    mean: Rows
    scale: Rows
    weight: Rows
    bias: Rows
    log_odds: Floats


def fit_contigs(inputs: Floats, labels: Labels, weights: Floats, folds: npt.NDArray[np.int64]) -> ContigFit:
    """Fit the regression over contigs, float64 [contigs, inputs] of `contig_inputs`."""
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    standard = (inputs - mean) / scale
    log_odds = np.empty(len(inputs))
    for train, test in _splits(folds):
        log_odds[test] = _regression(standard[train], labels[train], weights[train]).decision_function(standard[test])
    model = _regression(standard, labels, weights)
    return ContigFit(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        weight=model.coef_[0].astype(np.float32),
        bias=model.intercept_.astype(np.float32),
        log_odds=log_odds,
    )


def _regression(inputs: Floats, labels: Labels, weights: Floats) -> LogisticRegression:
    return LogisticRegression(C=REGULARISATION, max_iter=3000).fit(inputs, labels, sample_weight=weights)


def _splits(folds: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    for fold in np.unique(folds):
        yield folds != fold, folds == fold
