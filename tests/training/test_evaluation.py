"""Evaluation: figures by their definitions and from published tables."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.training import evaluation
from virnucpro.training.evaluation import evaluate, found_at, proportion, reliability


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # Clopper and Pearson's intervals, as any table of them has them.
    [(2, 10, 0.0252, 0.5561), (0, 20, 0, 0.1684), (20, 20, 0.8316, 1), (0, 1, 0, 0.975)],
)
def test_proportions_have_exact_intervals(hits: int, of: int, low: float, high: float) -> None:
    expected = {"value": hits / of, "low": low, "high": high, "count": hits}
    assert proportion(np.arange(of) < hits) == expected


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "RESAMPLES", 20)


@settings(max_examples=20)
@given(rows=st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5)), min_size=4, max_size=60))
def test_auroc_is_the_proportion_of_pairs_in_order(few_resamples: None, rows: list[tuple[int, int]]) -> None:
    rows = [*rows, (0, 0), (1, 0)]
    table = pd.DataFrame(rows, columns=["viral", "log_odds"]).assign(call="cellular", group="g")
    pairs = [(v > c) + 0.5 * (v == c) for one, v in rows if one for zero, c in rows if not zero]
    metrics = evaluate(table)
    assert metrics["auroc"]["value"] == pytest.approx(np.mean(pairs), abs=1e-4)
    assert metrics["auroc"]["low"] <= metrics["auroc"]["high"]


def test_calls_are_counted_by_label(few_resamples: None) -> None:
    names = ["viral", "viral", "unresolved", "cellular", "viral", "unresolved", "cellular", "cellular"]
    viral = [1, 1, 1, 1, 0, 0, 0, 0]
    metrics = evaluate(pd.DataFrame({"viral": viral, "log_odds": viral, "call": names, "group": list("aabbccdd")}))
    assert (metrics["viral"], metrics["cellular"], metrics["groups"]) == (4, 4, 4)
    assert [metrics[name]["count"] for name in ("found", "false", "unresolved")] == [2, 1, 2]
    assert [metrics[name]["value"] for name in ("found", "false", "unresolved")] == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("cellular", "at_17", "at_50"),
    [
        (20, 0.25, 0.5),  # none of 20 may pass at 1.7 %, one at 5 %
        (19, 0.25, 0.25),  # none, and none: one of 19 is more than 5 %
        (1000, 0.75, 1),  # 17 and 50
        (999, 0.5, 1),  # 16 and 49
    ],
)
def test_found_at_lets_as_many_cellular_contigs_pass_as_are_allowed(cellular: int, at_17: float, at_50: float) -> None:
    log_odds = [0.5, -0.5, -16.5, -48.5, *range(0, -cellular, -1)]  # of the viral ones first
    viral = np.arange(len(log_odds)) < 4
    assert (found_at(0.017, np.array(log_odds), viral), found_at(0.05, np.array(log_odds), viral)) == (at_17, at_50)


def test_viral_contigs_that_tie_with_cellular_ones_pass_with_them() -> None:
    # Two of 20 cellular contigs may pass: the two viral ones with their log-odds are found, the next two are not.
    log_odds = np.array([3, 2, 1, 0, *range(3, -17, -1)])
    assert found_at(0.1, log_odds, np.arange(24) < 4) == 0.5


def test_reliability_has_a_row_for_each_bin_with_contigs() -> None:
    score = np.array([0.05, 0.02, 0.41, 0.5, 0.55, 1.0, 0.0])
    table = reliability(score, np.array([0, 1, 1, 1, 0, 1, 0]))
    assert table["contigs"].tolist() == [3, 2, 1, 1]
    np.testing.assert_allclose(table["viral"], [1 / 3, 1, 0, 1])
    np.testing.assert_allclose(table["score"], [0.07 / 3, 0.455, 0.55, 1])
