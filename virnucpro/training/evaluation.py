"""Evaluation of calls: curves, proportions and false discovery rates, with bootstrap intervals.

Fragments of one group of organisms resemble each other. So the bootstrap draws whole groups, within each label.
"""

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from virnucpro.calling import LENGTHS
from virnucpro.calling.calls import DEFAULT_FDR, label_contigs
from virnucpro.calling.requirements import Requirements
from virnucpro.data.arrays import Floats, Integers

SHORTEST = min(LENGTHS.values())  # bases of a fragment; shorter contigs are not called
CLASSES = LENGTHS
RESAMPLES = 500
FALSE_POSITIVE_RATES = (0.017, 0.05)  # rates at which the proportion of viral contigs found is reported
SHARE = 0.1  # share of viral contigs for which calls are evaluated

SHARES = (0.01, 0.05, 0.1, 0.5)  # shares of viral contigs in simulated samples
DRAWS = 200  # simulated samples per share
SIZES = (200, 5_000)  # contigs in a simulated sample


def class_of_length(lengths: "pd.Series[int]") -> pd.Series:
    """Return the class of lengths of each contig, a categorical of the names of `CLASSES`."""
    return pd.cut(lengths, [*CLASSES.values(), np.inf], right=False, labels=list(CLASSES))


def evaluate(contigs: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Evaluate the calls of labeled contigs.

    Args:
        contigs: Columns `viral` (0 or 1, both present), `group`, `log_odds` and `call`.

    Returns:
        Three counts: `viral`, `cellular` and `groups`. Values with a 95 % interval, as `value`, `low` and `high`:

        - `auroc`, `average_precision`
        - `found`, `lost`: Proportion of viral contigs called viral, and called cellular.
        - `false`: Proportion of cellular contigs called viral.
        - `unresolved`: Proportion of all contigs.
        - `found_at`: Proportion of viral contigs found at false-positive rates of 1.7 and 5 %.
    """
    viral, log_odds = contigs["viral"].to_numpy(), contigs["log_odds"].to_numpy()
    call = contigs["call"].to_numpy(str)
    draws = resample_groups(contigs["group"], contigs["viral"], seed)
    resampled = pd.DataFrame([_measure(viral[rows], log_odds[rows], call[rows]) for rows in draws])
    low, high = (resampled.quantile(level) for level in (0.025, 0.975))
    measured = {
        name: {"value": round(value, 4), "low": round(float(low[name]), 4), "high": round(float(high[name]), 4)}
        for name, value in _measure(viral, log_odds, call).items()
    }
    return {
        "viral": int(viral.sum()),
        "cellular": int((1 - viral).sum()),
        "groups": int(contigs["group"].nunique()),
        **measured,
        "found_at": {str(rate): round(found_at(rate, log_odds, viral), 4) for rate in FALSE_POSITIVE_RATES},
    }


def _measure(viral: Integers, log_odds: Floats, call: "np.typing.NDArray[np.str_]") -> dict[str, float]:
    return {
        "auroc": float(roc_auc_score(viral, log_odds)),
        "average_precision": float(average_precision_score(viral, log_odds)),
        "found": float((call[viral == 1] == "viral").mean()),
        "lost": float((call[viral == 1] == "cellular").mean()),
        "false": float((call[viral == 0] == "viral").mean()),
        "unresolved": float((call == "unresolved").mean()),
    }


def resample_groups(groups: pd.Series, viral: pd.Series, seed: int = 0) -> Iterator[Integers]:
    """Yield the rows of 500 bootstrap samples; groups are drawn with replacement within each label."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"group": groups.to_numpy(), "viral": viral.to_numpy(), "row": np.arange(len(groups))})
    of_label = [[of.to_numpy() for _, of in labeled.groupby("group")["row"]] for _, labeled in rows.groupby("viral")]
    for _ in range(RESAMPLES):
        yield np.concatenate(
            [found[index] for found in of_label for index in rng.integers(len(found), size=len(found))]
        )


def compare_auroc(contigs: pd.DataFrame, first: Floats, second: Floats, seed: int = 0) -> dict[str, float]:
    """Return the AUROC of the first scores minus the AUROC of the second, with a 95 % interval.

    The test is paired: both scores, float64 [contigs], are evaluated on the same resampled groups. The contigs have
    columns `viral` and `group`.
    """
    viral = contigs["viral"].to_numpy()

    def difference(rows: Any) -> float:
        return float(roc_auc_score(viral[rows], first[rows]) - roc_auc_score(viral[rows], second[rows]))

    differences = [difference(rows) for rows in resample_groups(contigs["group"], contigs["viral"], seed)]
    low, high = np.quantile(differences, (0.025, 0.975))
    return {"value": round(difference(slice(None)), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def call_at_share(requirements: Requirements, contigs: pd.DataFrame, share: float = SHARE) -> pd.DataFrame:
    """Return `posterior`, `fdr`, `call` and `reason` of labeled contigs, as in a sample with this share of viruses.

    Contigs are weighted in the fdr, so that each label has its share. Their columns are `viral`, `log_odds` and
    `length`.
    """
    viral = contigs["viral"].to_numpy()
    weights = np.where(viral == 1, share / max(1, viral.sum()), (1 - share) / max(1, (1 - viral).sum()))
    return label_contigs(requirements, contigs, share, DEFAULT_FDR, weights)[0]


def simulate_samples(requirements: Requirements, contigs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return estimated and true numbers of simulated samples, one row per sample.

    There are 200 samples for each share of viral contigs: 1, 5, 10 and 50 %. The number of contigs is log-uniform from
    200 to 5,000, and they are drawn with replacement.

    Args:
        contigs: Columns `viral`, `log_odds` and `length`.

    Returns:
        Columns:

        - `share`, `contigs`: True share of viral contigs, and number of contigs.
        - `estimated`, `low`, `high`: Estimated share with its interval.
        - `called`, `stated`, `false`: Contigs called viral, and the expected and true number of false calls.
        - `viral`, `found`: Viral contigs, and how many of them are called viral.
    """
    rng = np.random.default_rng(seed)
    by_label = [np.flatnonzero(contigs["viral"] == label) for label in (0, 1)]
    rows = []
    for share in np.repeat(SHARES, DRAWS):
        size = round(np.exp(rng.uniform(*np.log(SIZES))))
        count = round(size * share)
        chosen = np.concatenate([rng.choice(by_label[0], size - count), rng.choice(by_label[1], count)])
        sample = contigs.iloc[chosen]
        labels, estimate = label_contigs(requirements, sample)
        viral, called = sample["viral"].to_numpy() == 1, labels["call"].to_numpy() == "viral"
        counts = {"called": called.sum(), "false": (called & ~viral).sum(), "found": (called & viral).sum()}
        stated = (1 - labels["posterior"].to_numpy())[called].sum()
        shares = {"share": share, "estimated": estimate.value, "low": estimate.low, "high": estimate.high}
        rows.append(shares | {"contigs": size, "viral": count, "stated": stated} | counts)
    return pd.DataFrame(rows)


def sum_up_samples(samples: pd.DataFrame) -> list[dict[Hashable, float]]:
    """Sum up `simulate_samples`, one row per share.

    Columns: `share`; `estimated`, the mean estimate; `stated` and `true`, expected and true false discovery rate over
    all samples; `found`, the proportion of viral contigs that are called viral.
    """
    shares = samples.groupby("share")
    sums = shares[["called", "stated", "false", "viral", "found"]].sum()
    rates = {
        "estimated": shares["estimated"].mean(),
        "stated": sums["stated"] / sums["called"].clip(lower=1),
        "true": sums["false"] / sums["called"].clip(lower=1),
        "found": sums["found"] / sums["viral"],
    }
    return pd.DataFrame(rates).reset_index().round(4).to_dict("records")


def count_by_kind(contigs: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return the number of contigs of each `kind` of organism, in all and by `call`."""
    calls = {call: (call, "sum") for call in ("viral", "cellular", "unresolved")}
    called = contigs.assign(**{call: contigs["call"] == call for call in calls})
    return called.groupby("kind", as_index=False).agg(contigs=("call", "size"), **calls).to_dict("records")


def found_at(rate: float, log_odds: Floats, viral: Integers) -> float:
    """Return the proportion of viral contigs from the threshold of `threshold_at` on."""
    return float((log_odds[viral == 1] >= threshold_at(rate, log_odds, viral)).mean())


def threshold_at(rate: float, log_odds: Floats, viral: Integers) -> float:
    """Return the lowest log-odds of a contig that at most this rate of cellular contigs reach."""
    false, _, thresholds = roc_curve(viral, log_odds, drop_intermediate=False)
    return float(thresholds[false <= rate][-1])


def reliability(score: Floats, viral: Integers, bins: int = 10) -> pd.DataFrame:
    """Return mean `score`, proportion `viral` and number of `contigs` of each bin of scores that has contigs.

    In a proportion both labels have the same weight, as scores are calibrated at 50 % viral.
    """
    weight = 0.5 / np.bincount(viral, minlength=2).clip(min=1)[viral]
    table = pd.DataFrame({"score": score * weight, "viral": viral * weight, "weight": weight})
    bin_of = np.digitize(score, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    sums = table.groupby(bin_of).sum()
    means = sums[["score", "viral"]].div(sums["weight"], axis=0)
    return means.assign(contigs=table.groupby(bin_of).size()).reset_index(drop=True)
