"""Evaluation: figures by their definitions and from published tables."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling.requirements import Requirements
from virnucpro.training import evaluation
from virnucpro.training.evaluation import (
    call_at_share,
    class_of_length,
    compare_auroc,
    evaluate,
    found_at,
    reliability,
    resample_groups,
    simulate_samples,
    sum_up_samples,
)

SIZE = 30  # fragments of a group


def grouped(viral: int, cellular: int, found: float) -> pd.DataFrame:
    """Return contigs of so many groups of each label; all contigs of a group have one call."""
    labels = np.repeat([1, 0], [viral, cellular])
    called = np.concatenate([np.arange(viral) < found * viral, np.arange(cellular) < 0.1 * cellular])
    groups = pd.DataFrame({"viral": labels, "group": [f"g{n}" for n in range(len(labels))], "called": called})
    contigs = groups.loc[groups.index.repeat(SIZE)].reset_index(drop=True)
    noise = np.random.default_rng(0).normal(size=len(contigs))
    call = np.where(contigs["called"], "viral", "cellular")
    return contigs.assign(call=call, log_odds=np.where(contigs["called"], 3, -3) + noise)


def test_intervals_are_those_of_groups_not_of_their_fragments() -> None:
    metrics = evaluate(grouped(100, 50, 0.8))
    # The standard error of a proportion of independent groups; fragments would make it smaller by the root of 30.
    for name, proportion, groups in (("found", 0.8, 100), ("lost", 0.2, 100), ("false", 0.1, 50)):
        error = np.sqrt(proportion * (1 - proportion) / groups)
        one = metrics[name]
        assert one["value"] == pytest.approx(proportion)
        assert (one["high"] - one["low"]) / (2 * 1.96) == pytest.approx(error, rel=0.15), name
        assert one["low"] < one["value"] < one["high"]


def test_resampled_groups_are_whole_and_drawn_with_replacement() -> None:
    contigs = grouped(6, 4, 0.5)
    rows = next(iter(resample_groups(contigs["group"], contigs["viral"], 0)))
    counts = contigs["group"].iloc[rows].value_counts()
    assert (counts % SIZE == 0).all()
    assert counts.max() > SIZE, "drawn twice"
    assert len(counts) < 10, "another is left out"
    assert contigs["viral"].iloc[rows].sum() == 6 * SIZE
    again = next(iter(resample_groups(contigs["group"], contigs["viral"], 0)))
    np.testing.assert_array_equal(rows, again)


def test_aurocs_are_compared_in_pairs() -> None:
    contigs = grouped(40, 40, 0.8)
    first = contigs["log_odds"].to_numpy()
    worse = first + np.random.default_rng(1).normal(size=len(first)) * 3
    paired = compare_auroc(contigs, first, worse)
    assert paired["low"] > 0, "groups that are hard for one are hard for the other"
    assert compare_auroc(contigs, first, first) == {"value": 0, "low": 0, "high": 0}
    alone = evaluate(contigs)["auroc"]
    assert paired["high"] - paired["low"] < alone["high"] - alone["low"]


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
    rates = [metrics[name]["value"] for name in ("found", "lost", "false", "unresolved")]
    assert rates == [0.5, 0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    ("cellular", "at_17", "at_50"),
    [
        (20, 0.25, 0.5),  # 0 may pass at 1.7 %, 1 at 5 %
        (19, 0.25, 0.25),  # 0 and 0: one of 19 is more than 5 %
        (1000, 0.75, 1),  # 17 and 50
        (999, 0.5, 1),  # 16 and 49
    ],
)
def test_found_at_lets_as_many_cellular_contigs_pass_as_are_allowed(cellular: int, at_17: float, at_50: float) -> None:
    log_odds = [0.5, -0.5, -16.5, -48.5, *range(0, -cellular, -1)]  # viral contigs first
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
    # Three contigs are cellular and four viral: a cellular one weighs 4 / 3 as much.
    np.testing.assert_allclose(table["viral"], [3 / 11, 1, 0, 1])
    np.testing.assert_allclose(table["score"], [(0.05 * 4 + 0.02 * 3) / 11, 0.455, 0.55, 1])


def test_a_frequent_label_changes_no_reliability() -> None:
    rng = np.random.default_rng(0)
    viral = rng.integers(0, 2, 500)
    score = rng.uniform(size=500)
    repeats = np.where(viral == 1, 1, 7)
    often = reliability(np.repeat(score, repeats), np.repeat(viral, repeats))
    np.testing.assert_allclose(often["viral"], reliability(score, viral)["viral"])


REQUIREMENTS = Requirements(DESCRIPTION, cellular_to=((500, -2.0), (3000, -1.0)), fewest_residues=50, most_genes=40)


def calibrated(viral: int, cellular: int, shift: float = 0.0) -> pd.DataFrame:
    """Return contigs with calibrated log-odds, or too high ones."""
    labels = np.repeat([1, 0], [viral, cellular])
    mean = 8.0
    log_odds = np.random.default_rng(0).normal(mean * (2 * labels - 1), np.sqrt(2 * mean)) + shift
    return pd.DataFrame({"viral": labels, "log_odds": log_odds, "length": 5000})


def test_calls_at_a_share_do_not_depend_on_how_many_contigs_a_label_has() -> None:
    contigs = calibrated(500, 500)
    repeats = np.where(contigs["viral"] == 1, 1, 5)
    often = contigs.loc[contigs.index.repeat(repeats)].reset_index(drop=True)
    once = call_at_share(REQUIREMENTS, contigs)
    assert call_at_share(REQUIREMENTS, often)["call"].tolist() == once["call"].repeat(repeats).tolist()
    viral = contigs["viral"].to_numpy() == 1
    weights, posterior = np.where(viral, 0.1 / 500, 0.9 / 500), once["posterior"].to_numpy()
    for one in (100, 499, 700):
        no_less = posterior >= posterior[one]
        assert once["fdr"].iloc[one] == pytest.approx(np.average(1 - posterior[no_less], weights=weights[no_less]))
    called = (once["call"] == "viral").to_numpy()
    false, right = 0.9 * called[~viral].mean(), 0.1 * called[viral].mean()
    assert false / (false + right) < 0.1
    assert called[viral].mean() > 0.8


def test_simulated_samples_tell_right_scores_from_wrong_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "DRAWS", 30)
    for row in sum_up_samples(simulate_samples(REQUIREMENTS, calibrated(9000, 90_000))):
        assert row["estimated"] == pytest.approx(row["share"], rel=0.15)
        assert row["stated"] / 2 < row["true"] < row["stated"] * 2
        assert row["found"] > 0.65
    shifted = sum_up_samples(simulate_samples(REQUIREMENTS, calibrated(9000, 90_000, shift=3.0)))
    assert shifted[0]["true"] > 3 * shifted[0]["stated"], "scores that are too high state too low an fdr"
    samples = simulate_samples(REQUIREMENTS, calibrated(50, 50))
    assert samples["contigs"].between(200, 5000).all()
    assert (samples["estimated"] != samples["share"]).mean() > 0.9, "the share is estimated from the sample"
    assert samples.groupby("share").size().tolist() == [30] * 4
    assert (samples["viral"] == (samples["contigs"] * samples["share"]).round()).all()
    assert (samples["called"] == samples["false"] + samples["found"]).all()


def test_classes_of_length_hold_their_shortest() -> None:
    lengths = pd.Series([500, 1499, 1500, 2999, 3000, 9999, 10_000, 10**7])
    expected = ["0.5 to 1.5 kb"] * 2 + ["1.5 to 3 kb"] * 2 + ["3 to 10 kb"] * 2 + ["from 10 kb"] * 2
    assert class_of_length(lengths).tolist() == expected
