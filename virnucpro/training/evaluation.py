"""How good calls are: curves, proportions with confidence intervals, calibration."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from virnucpro.data.arrays import Floats, Integers, Mask

SHORTEST = 1_500  # bases of a contig; calls of shorter ones are not evaluated
RESAMPLES = 1000
FALSE_POSITIVE_RATES = (0.017, 0.05)  # at which the proportion of viral contigs found is given


def evaluate(contigs: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Evaluate the calls of labelled contigs: columns `viral` (0 or 1, both there), `group`, `log_odds` and `call`.

    Returns:
        `viral`, `cellular` and `groups`, how many there are; `auroc` and `average_precision`, with 95 % intervals of a
        bootstrap over the contigs of each label; `found`, the proportion of viral contigs called viral, `false`, of
        cellular ones called viral, and `unresolved`, of all, with exact 95 % intervals; `found_at`, the proportion of
        viral contigs found if the threshold were such that at most 1.7 or 5 % of the cellular ones pass.
    """
    viral, log_odds = contigs["viral"].to_numpy(), contigs["log_odds"].to_numpy()
    called = (contigs["call"] == "viral").to_numpy()
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(viral == label) for label in (0, 1)]
    resamples = [np.concatenate([rng.choice(part, len(part)) for part in parts]) for _ in range(RESAMPLES)]

    def with_interval(metric: Any) -> dict[str, float]:
        low, high = np.quantile([metric(viral[rows], log_odds[rows]) for rows in resamples], (0.025, 0.975))
        values = {"value": metric(viral, log_odds), "low": low, "high": high}
        return {name: round(float(value), 4) for name, value in values.items()}

    return {
        "viral": int(viral.sum()),
        "cellular": int((1 - viral).sum()),
        "groups": int(contigs["group"].nunique()),
        "auroc": with_interval(roc_auc_score),
        "average_precision": with_interval(average_precision_score),
        "found": proportion(called[viral == 1]),
        "false": proportion(called[viral == 0]),
        "unresolved": proportion((contigs["call"] == "unresolved").to_numpy()),
        "found_at": {str(rate): round(found_at(rate, log_odds, viral), 4) for rate in FALSE_POSITIVE_RATES},
    }


def count_by_kind(contigs: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return how many contigs there are of each `kind` of organism, and how many of them have which `call`."""
    calls = {call: (call, "sum") for call in ("viral", "unresolved")}
    called = contigs.assign(**{call: contigs["call"] == call for call in calls})
    return called.groupby("kind", as_index=False).agg(contigs=("call", "size"), **calls).to_dict("records")


def found_at(rate: float, log_odds: Floats, viral: Integers) -> float:
    """Return the proportion of viral contigs found at a threshold which at most this rate of cellular ones pass."""
    false, found, _ = roc_curve(viral, log_odds, drop_intermediate=False)
    return float(found[false <= rate][-1])


def proportion(hits: Mask) -> dict[str, float]:
    """Return the proportion of hits with its exact 95 % interval (Clopper & Pearson 1934), and their count."""
    test = binomtest(int(hits.sum()), len(hits))
    low, high = test.proportion_ci(method="exact")
    return {"value": round(test.statistic, 4), "low": round(low, 4), "high": round(high, 4), "count": test.k}


def reliability(score: Floats, viral: Integers, bins: int = 10) -> pd.DataFrame:
    """Return a row for each bin of scores with contigs in it: mean `score`, proportion `viral`, number of `contigs`."""
    proportions, means = calibration_curve(viral, score, n_bins=bins)
    contigs = np.bincount(np.digitize(score, np.linspace(0, 1, bins + 1)[1:-1], right=True))
    return pd.DataFrame({"score": means, "viral": proportions, "contigs": contigs[contigs > 0]})
