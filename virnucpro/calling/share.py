"""Share of viral contigs in a sample, and false discovery rates."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from virnucpro.data.arrays import Floats

DEFAULT_SHARE = 0.1  # for samples that are too small for an estimate
FEWEST = 50  # contigs that an estimate needs
FLOOR = 0.001
_DROP = 1.9207  # half of the 95 % quantile of chi-squared with one degree of freedom


class Share(NamedTuple):
    """The share of contigs that are viral.

    Attributes:
        low, high: Its 95 % confidence interval; equal to the value if the share is not estimated.
        source: `estimated`, `given`, or `default` for a sample of fewer than 50 contigs.
    """

    value: float
    low: float
    high: float
    source: str


def share_of_viruses(log_odds: Floats, prior: float | None = None) -> Share:
    """Return the prior if it is given, else estimate the share of viral contigs in a sample.

    The estimate is the share of highest likelihood, the fixed point of the EM algorithm of Saerens, Latinne and
    Decaestecker (2002, doi 10.1162/089976602753284446). Its interval is a likelihood ratio interval of 95 %. Shares are
    limited to 0.001 to 0.999.

    Args:
        log_odds: Log-odds of contigs, calibrated at 50 % viral, float64 [contigs].
        prior: A share that overrides the estimate.

    Examples:
        A tenth of 2,000 contigs are viral.

        >>> rng = np.random.default_rng(0)
        >>> log_odds = rng.normal(np.where(np.arange(2000) < 200, 8, -8), 4)
        >>> [round(value, 2) for value in share_of_viruses(log_odds)[:3]]
        [0.1, 0.09, 0.11]
    """
    if prior is not None:
        return Share(prior, prior, prior, "given")
    if len(log_odds) < FEWEST:
        return Share(DEFAULT_SHARE, DEFAULT_SHARE, DEFAULT_SHARE, "default")
    from scipy.optimize import brentq  # here: it takes a tenth of a second to load

    def slope(share: float) -> float:
        # Derivative of the log-likelihood, times share * (1 - share).
        return float((expit(log_odds + logit(share)) - share).sum())

    def log_likelihood(share: float) -> float:
        return float(np.logaddexp(math.log(share) + log_odds, math.log1p(-share)).sum())

    least, most = FLOOR, 1 - FLOOR
    value = least if slope(least) <= 0 else most
    if slope(least) > 0 > slope(most):
        value = float(brentq(slope, least, most))
    lowest = log_likelihood(value) - _DROP

    def end(limit: float) -> float:
        outside = log_likelihood(limit) - lowest
        return limit if outside >= 0 else float(brentq(lambda share: log_likelihood(share) - lowest, limit, value))

    return Share(value, end(least), end(most), "estimated")


def false_discovery_rates(posterior: Floats, weights: Floats | None = None) -> Floats:
    """Return the expected false discovery rate if a contig and all with an equal or higher posterior are called viral.

    Contigs with equal posteriors have equal rates.

    Args:
        posterior: Probabilities of being viral, float64 [contigs].
        weights: Weights of the contigs, float64 [contigs]; 1 by default.

    Examples:
        The rates are 0.1, (0.1 + 0.3 + 0.3) / 3 and (0.1 + 0.3 + 0.3 + 0.5) / 4.

        >>> false_discovery_rates(np.array([0.5, 0.9, 0.7, 0.7])).round(3).tolist()
        [0.3, 0.1, 0.233, 0.233]
    """
    weights = np.ones(len(posterior)) if weights is None else weights
    order = np.argsort(-posterior, kind="stable")
    rates = np.cumsum((weights * (1 - posterior))[order]) / np.cumsum(weights[order])
    last = np.searchsorted(-posterior[order], -posterior, side="right") - 1  # last contig with an equal posterior
    return np.asarray(rates[last])
