"""The share of viral contigs in a sample, and the false discovery rate: by simulation and by their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from virnucpro.calling.share import FLOOR, false_discovery_rates, share_of_viruses
from virnucpro.data.arrays import Floats


def calibrated(share: float, contigs: int, seed: int) -> tuple[Floats, np.ndarray]:
    """Return normal calibrated log-odds (variance 2 * mean) with an AUROC of 0.99, and the mask of viral contigs."""
    rng = np.random.default_rng(seed)
    viral = np.arange(contigs) < round(share * contigs)
    return rng.normal(np.where(viral, 5.4, -5.4), np.sqrt(2 * 5.4)), viral


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.5, 0.9])
def test_shares_and_rates_of_simulated_samples_are_true(share: float) -> None:
    found, inside, stated, true = [], 0, 0.0, 0
    for seed in range(60):
        log_odds, viral = calibrated(share, 3000, seed)
        estimate = share_of_viruses(log_odds)
        assert estimate.source == "estimated"
        found.append(estimate.value)
        inside += estimate.low <= share <= estimate.high
        posterior = expit(log_odds + logit(estimate.value))
        called = false_discovery_rates(posterior) <= 0.05
        stated, true = stated + (1 - posterior[called]).sum(), true + (called & ~viral).sum()
    assert np.mean(found) == pytest.approx(share, rel=0.05)
    assert inside >= 54, "an interval of 95 %"
    assert stated == pytest.approx(true, rel=0.25)


@given(st.integers(0, 999))
def test_the_estimate_is_the_fixed_point_of_em_and_the_most_likely_share(seed: int) -> None:
    log_odds, _ = calibrated(0.2, 80, seed)
    estimate = share_of_viruses(log_odds)
    assert expit(log_odds + logit(estimate.value)).mean() == pytest.approx(estimate.value, abs=1e-6)

    def unlikelihood(share: float) -> float:
        return -np.log(share * np.exp(log_odds) + 1 - share).sum()

    best = minimize_scalar(unlikelihood, (FLOOR, 1 - FLOOR), bounds=(FLOOR, 1 - FLOOR), options={"xatol": 1e-9})
    assert estimate.value == pytest.approx(best.x, abs=1e-5)
    for end in (estimate.low, estimate.high):
        assert 2 * (unlikelihood(end) - unlikelihood(estimate.value)) == pytest.approx(3.8415, abs=1e-3)


def test_samples_of_one_label_have_the_floor_or_its_counterpart() -> None:
    assert share_of_viruses(np.full(200, -9.0))[:2] == (0.001, 0.001)
    assert share_of_viruses(np.full(200, 9.0)).value == 0.999
    assert share_of_viruses(np.full(200, 9.0)).high == 0.999
    assert 0.005 < share_of_viruses(np.full(200, -9.0)).high < 0.02, "none of 200"


def test_a_small_sample_has_the_default_and_a_given_share_wins() -> None:
    log_odds = np.full(49, 9.0)
    assert share_of_viruses(log_odds) == (0.1, 0.1, 0.1, "default")
    assert share_of_viruses(np.append(log_odds, 9.0)).source == "estimated"
    assert share_of_viruses(log_odds, 0.3) == (0.3, 0.3, 0.3, "given")
    assert share_of_viruses(np.full(500, 9.0), 0.3).source == "given"
    assert share_of_viruses(np.empty(0)).source == "default"


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(1, 4)), min_size=1, max_size=40))
def test_rates_are_means_over_all_that_are_as_likely(rows: list[tuple[int, int]]) -> None:
    posterior, weights = np.array([row[0] / 10 for row in rows]), np.array([float(row[1]) for row in rows])
    for given_weights in (None, weights):
        used = np.ones(len(rows)) if given_weights is None else weights
        expected = [np.average(1 - posterior[posterior >= one], weights=used[posterior >= one]) for one in posterior]
        np.testing.assert_allclose(false_discovery_rates(posterior, given_weights), expected, atol=1e-12)
