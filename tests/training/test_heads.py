"""Heads fitted on simulated data: learned classes, cross-fitting, and limits of statements."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit

from virnucpro.data.arrays import Floats, Integers, Mask
from virnucpro.naming.heads import NEVER
from virnucpro.training import heads
from virnucpro.training.heads import FittedHead, Sets, fit_head, limit_for

FOLDS = 5


def sets_of(inputs: Floats, label: Integers, cluster: Integers, sizes: Integers | None = None) -> Sets:
    allowed = np.eye(label.max() + 1, dtype=np.bool_)[label]
    ones = np.ones(len(label), np.int64)
    return Sets(
        inputs.astype(np.float32), ones if sizes is None else sizes, allowed, ones.astype(float), cluster % FOLDS
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Learn in few steps, on one thread, as the networks are small."""
    monkeypatch.setattr(heads, "BATCH", 64)
    monkeypatch.setattr(heads, "LEARNING_RATE", 0.03)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def clusters(count: int, members: int, seed: int = 0) -> tuple[Floats, Integers]:
    """Return inputs that are similar only within a cluster, and the cluster of each input."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(count), members)
    return rng.normal(size=(count, 8))[cluster] + 0.1 * rng.normal(size=(len(cluster), 8)), cluster.astype(np.int64)


def right(fitted: FittedHead, label: Integers) -> Mask:
    return np.asarray(fitted.probabilities.argmax(axis=1) == label)


def test_two_easy_classes_are_learned() -> None:
    inputs, cluster = clusters(40, 10)
    label = cluster % 2
    inputs[:, 3] += np.where(label, 6, -6)
    fitted = fit_head(sets_of(inputs * 100 + 7, label, cluster), 16, 15, 0)
    assert right(fitted, label).mean() > 0.95
    head = fitted.head
    assert head.hidden_weight.shape == (FOLDS, 16, 8)
    assert head.hidden_weight.dtype == np.float16
    assert head.output_weight.shape == (FOLDS, 2, 16)
    np.testing.assert_allclose(fitted.probabilities.sum(axis=1), 1, rtol=1e-5)
    together = head.probabilities((inputs * 100 + 7).astype(np.float32), np.ones(400, np.int64))
    assert (together.argmax(axis=1) == label).mean() > 0.95


def test_a_set_is_judged_by_the_network_that_has_not_seen_it() -> None:
    inputs, cluster = clusters(20, 10)
    sets = sets_of(inputs, cluster % 2, cluster)
    fitted = fit_head(sets, 16, 3, 0)
    for fold in range(FOLDS):
        networks = ("hidden_weight", "hidden_bias", "output_weight", "output_bias")
        arrays = {name: getattr(fitted.head, name)[fold : fold + 1] for name in networks}
        alone = replace(fitted.head, **arrays)
        held_out = sets.folds == fold
        expected = alone.probabilities(sets.inputs, sets.sizes)[held_out]
        np.testing.assert_allclose(fitted.probabilities[held_out], expected, atol=2e-3)
        others = sets._replace(allowed=np.where(held_out[:, None], ~sets.allowed, sets.allowed))
        again = fit_head(others, 16, 3, 0)
        np.testing.assert_array_equal(again.head.output_weight[fold], fitted.head.output_weight[fold])
        assert (again.head.output_weight[fold - 1] != fitted.head.output_weight[fold - 1]).any()


def test_labels_by_a_coin_within_kin_are_right_by_chance() -> None:
    inputs, cluster = clusters(60, 6)
    label = np.random.default_rng(1).permutation(np.arange(60) % 2)[cluster]
    kept_together = fit_head(sets_of(inputs, label, cluster), 64, 30, 0)
    assert abs(right(kept_together, label).mean() - 0.5) < 0.2
    torn = fit_head(sets_of(inputs, label, np.arange(len(label))), 64, 30, 0)
    assert right(torn, label).mean() > 0.8, "kin in other folds tells the label"


def test_genes_of_a_set_are_summed() -> None:
    """A single gene says little, but all genes of a set together tell its class."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, 600)
    label = np.arange(600) % 2
    inputs = rng.normal(size=(sizes.sum(), 4)) + np.repeat(label - 0.5, sizes)[:, None] * [0.8, 0, 0, 0]
    fitted = fit_head(sets_of(inputs, label, np.arange(600), sizes), 16, 15, 0)
    is_right = right(fitted, label)
    assert is_right[sizes > 20].mean() > 0.9
    assert is_right[sizes < 3].mean() < 0.85


def test_a_vague_label_allows_several_classes() -> None:
    inputs, cluster = clusters(60, 10)
    label = cluster % 3
    inputs[np.arange(600), label] += 8
    sets = sets_of(inputs, label, cluster)
    vague = (cluster % 4 == 0) & (label > 0)
    sets.allowed[vague] = [False, True, True]
    fitted = fit_head(sets, 32, 15, 0)
    assert right(fitted, label)[vague].mean() > 0.8, "learned from others"
    only_vague = sets._replace(weights=np.where(vague | (label == 0), 1.0, 0.0))
    assert 0.2 < fit_head(only_vague, 32, 15, 0).probabilities[label == 1, 1].mean() < 0.8, "nothing tells 1 from 2"


def test_what_weighs_nothing_is_not_learned_from() -> None:
    inputs, cluster = clusters(40, 10)
    label = cluster % 2
    inputs[:, 0] += 12 * label
    wrong = cluster % 3 == 0
    sets = sets_of(inputs, np.where(wrong, 1 - label, label), cluster)
    assert right(fit_head(sets._replace(weights=np.where(wrong, 0.0, 1.0)), 16, 15, 0), label).mean() > 0.95
    assert right(fit_head(sets._replace(weights=np.where(wrong, 1.0, 0.0)), 16, 15, 0), label).mean() < 0.3


def test_the_same_seed_gives_the_same_head() -> None:
    inputs, cluster = clusters(10, 5)
    sets = sets_of(inputs, cluster % 2, cluster)
    first, again, other = (fit_head(sets, 8, 2, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert (first.probabilities != other.probabilities).any()


@pytest.mark.parametrize(
    ("is_right", "stated"),
    [
        ([1] * 40, 40),
        ([1] * 19 + [0] + [1] * 20, 40),
        ([1] * 19 + [0, 0] + [1] * 19, 40),
        ([1] * 19 + [0] * 21, 20),
        ([0] + [1] * 18 + [0] * 21, 0),
        ([0] + [1] * 19 + [0] * 20, 20),
        ([1] * 4 + [0] * 36, 0),
        ([1] * 5 + [0] * 35, 5),
        ([0] * 40, 0),
    ],
)
def test_the_lowest_limit_with_95_in_100_right(is_right: list[int], stated: int) -> None:
    probabilities = np.linspace(0.995, 0.605, 40)
    order = np.random.default_rng(0).permutation(40)
    limit = limit_for(probabilities[order], np.array(is_right, np.bool_)[order])
    assert (probabilities >= limit).sum() == stated
    assert (limit == NEVER) == (stated == 0)
    assert limit == round(limit, 4)


def test_a_limit_is_reached_by_what_it_was_measured_on() -> None:
    probabilities = expit(np.random.default_rng(0).normal(6, 1, 500))
    assert (probabilities >= limit_for(probabilities, np.ones(500, np.bool_))).all()
    assert limit_for(np.empty(0), np.empty(0, np.bool_)) == limit_for(np.full(4, 0.9), np.ones(4, np.bool_)) == NEVER
    assert limit_for(np.full(9, 0.3), np.ones(9, np.bool_)) == 0.5, "nothing is stated that is more likely wrong"
