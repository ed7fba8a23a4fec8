"""Fitting: folds of whole groups, weights of groups, and log-odds by models that have not seen the group."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from virnucpro.calling.classifier import Floats, Rows
from virnucpro.errors import UserError
from virnucpro.training.cross_fit import (
    FOLDS,
    Integers,
    deal_groups,
    fit_contigs,
    fit_proteins,
    group_weights,
)
from virnucpro.training.evaluation import reliability


def expand(sizes: dict[str, list[int]]) -> tuple[np.ndarray, Integers]:
    """Return group and label of every row, from the sizes of the groups of each label."""
    groups = [f"{label}{number}" for label in sizes for number, size in enumerate(sizes[label]) for _ in range(size)]
    return np.array(groups), np.array([int(group.startswith("viral")) for group in groups])


SIZES = st.lists(st.integers(1, 9), min_size=2, max_size=12)


@given(st.fixed_dictionaries({"viral": SIZES, "cellular": SIZES}), st.integers(0, 99))
def test_every_fold_holds_whole_groups_of_both_labels(sizes: dict[str, list[int]], seed: int) -> None:
    groups, labels = expand(sizes)
    kinds = np.array([f"{name[0]}{int(name[-1]) % 3}" for name in groups])
    folds = deal_groups(groups, labels, kinds, seed)
    assert all(len(set(folds[groups == name])) == 1 for name in set(groups))
    wanted = set(range(min(5, len(sizes["viral"]), len(sizes["cellular"]))))
    assert set(folds[labels == 0]) == set(folds[labels == 1]) == wanted
    np.testing.assert_array_equal(folds, deal_groups(groups, labels, kinds, seed))
    for kind in set(kinds):
        of_kind = len(set(groups[kinds == kind]))
        assert len(set(folds[kinds == kind])) == min(of_kind, len(wanted)), "a kind is held out as seldom as can be"


def test_folds_get_as_many_rows_of_a_label_as_whole_groups_allow() -> None:
    groups, labels = expand({"viral": [1, 2, 3, 4, 5, 6], "cellular": [1, 1]})
    assert sorted(np.bincount(deal_groups(groups, labels, labels.astype(str), 0)[labels == 1])) == [10, 11]


@pytest.mark.parametrize("sizes", [[3], []])
def test_a_single_group_cannot_be_held_out(sizes: list[int]) -> None:
    groups, labels = expand({"viral": sizes, "cellular": [2, 2, 2]})
    with pytest.raises(UserError, match=f"^training needs two or more viral groups with proteins, found {len(sizes)}"):
        deal_groups(groups, labels, labels.astype(str), 0)


@given(st.fixed_dictionaries({"viral": SIZES, "cellular": SIZES}))
def test_labels_weigh_the_same_and_so_do_the_groups_of_a_label(sizes: dict[str, list[int]]) -> None:
    groups, labels = expand(sizes)
    weights = group_weights(groups, labels)
    assert weights.mean() == pytest.approx(1)
    for name in set(groups):
        label = labels[groups == name][0]
        of_label = len(set(groups[labels == label]))
        assert weights[groups == name].sum() == pytest.approx(len(groups) / 2 / of_label)
        assert np.ptp(weights[groups == name]) == 0


def marked_groups() -> tuple[np.ndarray, Integers, Rows, Integers]:
    """Return groups, labels, inputs and folds; each group has an input that marks it.

    That input tells the label to a model that has seen the group, and nothing to any other.
    """
    number = np.repeat(np.arange(10), 40)
    labels = number % 2
    groups = np.array([f"g{n}" for n in number])
    inputs = np.eye(10)[number] + np.random.default_rng(0).normal(size=(400, 10)) * 0.1
    return groups, labels, inputs.astype(np.float32), deal_groups(groups, labels, labels.astype(str), 0)


def fit_networks(inputs: Rows, labels: Integers, weights: Floats, folds: Integers) -> Floats:
    return fit_proteins(inputs, labels, weights, folds, 0).log_odds


def fit_regression(inputs: Rows, labels: Integers, weights: Floats, folds: Integers) -> Floats:
    return fit_contigs(inputs.astype(np.float64), labels, weights, folds).log_odds


FITS = pytest.mark.parametrize("fit", [fit_networks, fit_regression])


@FITS
def test_rows_are_scored_by_what_has_not_seen_their_group(fit: Callable[..., Floats]) -> None:
    _, labels, inputs, folds = marked_groups()
    right = ((fit(inputs, labels, np.ones(400), folds) > 0) == labels).mean()
    assert right < 0.7, "the labels of groups held out leaked"
    by_row = np.arange(400) // 2 % FOLDS  # folds that divide the groups
    right = ((fit(inputs, labels, np.ones(400), by_row) > 0) == labels).mean()
    assert right > 0.95, "the groups cannot be told apart"


@FITS
def test_what_weighs_more_decides(fit: Callable[..., Floats]) -> None:
    inputs = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)  # tells nothing
    labels, folds = np.arange(400) % 2, np.arange(400) // 2 % 2
    for heavy, sign in ((0, -1), (1, 1)):
        log_odds = fit(inputs, labels, np.where(labels == heavy, 1.9, 0.1), folds)
        assert sign * np.median(log_odds) > 0.4


def test_networks_score_odd_proteins_as_the_classifier_will() -> None:
    labels, folds = np.arange(400) % 2, np.arange(400) // 2 % FOLDS
    inputs = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    inputs[:, 0] += labels
    inputs[[7, 100]] = 40  # far out: cut to 6 standard deviations
    fitted = fit_proteins(inputs, labels, np.ones(400), folds, 0)
    standard = np.clip((inputs - fitted.arrays["mean"]) / fitted.arrays["scale"], -6, 6)
    assert np.abs(standard).max() == 6
    for fold in range(FOLDS):
        weights = (fitted.arrays[name][fold] for name in ("hidden_weight", "hidden_bias"))
        weight, bias = (torch.tensor(array.astype(np.float32)) for array in weights)
        hidden = torch.nn.functional.gelu(torch.tensor(standard[folds == fold]) @ weight.T + bias).numpy()
        expected = hidden @ fitted.arrays["output_weight"][fold] + fitted.arrays["output_bias"][fold]
        np.testing.assert_allclose(fitted.log_odds[folds == fold], expected, atol=0.02)


def test_there_are_as_many_networks_as_folds() -> None:
    _, labels, inputs, folds = marked_groups()
    assert len(fit_proteins(inputs, labels, np.ones(400), folds, 0).arrays["output_bias"]) == FOLDS
    assert len(fit_proteins(inputs, labels, np.ones(400), folds // 3, 0).arrays["output_bias"]) == 2


def test_log_odds_of_contigs_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 4000)
    inputs = np.column_stack([rng.normal(2 * labels - 1, 1), rng.normal(size=4000)])
    fit = fit_contigs(inputs, labels, np.ones(4000), np.arange(4000) % FOLDS)
    table = reliability(expit(fit.log_odds), labels)
    np.testing.assert_allclose(table["score"], table["viral"], atol=0.08)
    assert table["contigs"].sum() == 4000
