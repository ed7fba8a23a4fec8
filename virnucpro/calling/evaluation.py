"""How good calls are: curves, shares with confidence intervals, calibration."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta
from sklearn.metrics import average_precision_score, roc_auc_score

RESAMPLES = 1000
FALSE_SHARES = (0.017, 0.05)  # of cellular contigs, at which the share of viral ones found is given


def evaluate(contigs: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Return what calls of labelled contigs are worth.

    Args:
        contigs: columns `viral` (0 or 1), `log_odds`, `call`.
        seed: of the bootstrap.

    Returns:
        Counts; AUROC and average precision with 95 % intervals (bootstrap over contigs, each label by itself); the
        shares found, falsely called and unresolved, with exact binomial ones (Clopper & Pearson 1934); the share found
        at thresholds that let fixed shares of the cellular contigs pass.
    """
    viral, log_odds = contigs["viral"].to_numpy(), contigs["log_odds"].to_numpy()
    called = (contigs["call"] == "viral").to_numpy()
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(viral == label) for label in (0, 1)]
    resamples = [np.concatenate([rng.choice(part, len(part)) for part in parts]) for _ in range(RESAMPLES)]

    def with_interval(metric: Any) -> dict[str, float]:
        low, high = np.quantile([metric(viral[rows], log_odds[rows]) for rows in resamples], (0.025, 0.975))
        return {
            "value": round(float(metric(viral, log_odds)), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
        }

    return {
        "viral": int(viral.sum()),
        "cellular": int((1 - viral).sum()),
        "groups": int(contigs["group"].nunique()),
        "auroc": with_interval(roc_auc_score),
        "average_precision": with_interval(average_precision_score),
        "found": share(called[viral == 1]),
        "false": share(called[viral == 0]),
        "unresolved": share((contigs["call"] == "unresolved").to_numpy()),
        "found_at": {
            str(allowed): round(float((log_odds[viral == 1] > _threshold(log_odds[viral == 0], allowed)).mean()), 4)
            for allowed in FALSE_SHARES
        },
    }


def share(hits: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return the share of hits with its exact 95 % interval."""
    count, total = int(hits.sum()), len(hits)
    low = beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    value = count / total if total else 0.0
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4), "count": count}


def reliability(score: npt.NDArray[np.float64], viral: npt.NDArray[np.int64], bins: int = 10) -> pd.DataFrame:
    """Return, for contigs sorted by score into bins of equal width, the mean score, the share viral and the number."""
    table = pd.DataFrame({"score": score, "viral": viral, "bin": np.minimum((score * bins).astype(int), bins - 1)})
    grouped = table.groupby("bin")
    return grouped.mean().assign(contigs=grouped.size())


def _threshold(cellular: npt.NDArray[np.float64], allowed: float) -> float:
    """Return the log-odds that at most that share of the cellular contigs exceeds."""
    return float(np.sort(cellular)[::-1][int(allowed * len(cellular))])
