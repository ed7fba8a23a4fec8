"""Proviruses: viral stretches within contigs, by a segmentation of the log-odds of their genes.

Each gene is viral or of the host. A linear chain of two states says which: a hidden Markov model, fitted as a
conditional random field (Lafferty et al. 2001). A gene's log-odds, cut to +-4 and scaled, speak for one state, and each
change of the state along the contig costs. A provirus is a run of genes that are more likely viral than not, by the
forward and backward sums over all ways to divide the contig, from its first gene to its last. The last gene of a
circular contig is followed by its first. The four numbers of the chain, and the two that make a probability of a
region's evidence, were fitted to curated prophages (docs/proviruses.md).
"""

import math
from collections.abc import Container, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from virnucpro.data.arrays import Floats
from virnucpro.proteins.table import spans_of

BOUND = 4.0  # log-odds of a gene beyond it are cut, so that no gene makes a region by itself
LEAST_GENES = 5  # of a provirus
LEAST_BASES = 5_000
LEAST_SCORE = 0.5


class Chain(NamedTuple):
    """The numbers of the segmentation.

    Attributes:
        weight, bias: of a gene's log-odds in its evidence.
        enter, leave: weights of the change from the host to a virus and back, beside 1 for no change.
    """

    weight: float
    bias: float
    enter: float
    leave: float


CHAIN = Chain(0.281, 0.105, math.exp(-5.203), math.exp(-5.1))
SCORE_WEIGHT, SCORE_BIAS = 0.519, -3.81  # of a region's evidence in its log-odds


class Region(NamedTuple):
    """Part of a contig that is viral, or a whole viral contig.

    Attributes:
        contig: its name.
        start, end: in bases of the contig, from 0, half-open. A region across the origin of a circular contig ends
            beyond its length.
        genes: how many it holds; of frames, chunks with an open frame.
        score: probability of being viral.
        name: of its sequence, unique in its sample: the contig's, or CONTIG|provirus_START_END with positions from 1.
    """

    contig: str
    start: int
    end: int
    genes: int
    score: float
    name: str

    @property
    def is_provirus(self) -> bool:
        """Whether the region lies within a contig that is not called viral."""
        return self.name != self.contig


def evidence_of_genes(log_odds: Floats, chain: Chain = CHAIN) -> Floats:
    """Return what genes say for a virus, float64 [genes], from their log-odds."""
    return chain.weight * np.clip(log_odds, -BOUND, BOUND) + chain.bias


def viral_posterior(evidence: Sequence[float], chain: Chain = CHAIN) -> Floats:
    """Return the probability of each gene to lie in a virus, float64 [genes], from evidence in order along a contig.

    By the forward-backward algorithm (Rabiner 1989, doi 10.1109/5.18626) on log-odds, which two states allow.
    """
    forward: list[float] = []
    backward: list[float] = []
    odds = 0.0
    for one in evidence:
        odds = one + (_change(odds, chain.enter, chain.leave) if forward else 0.0)
        forward.append(odds)
    odds = 0.0
    for one in reversed(evidence):
        backward.append(odds)
        odds = _change(odds + one, chain.leave, chain.enter)
    return np.asarray(expit(np.array(forward) + np.array(backward[::-1])))


def circular_posterior(evidence: Sequence[float], chain: Chain = CHAIN) -> Floats:
    """Return the probability of each gene of a circular contig to lie in a virus, float64 [genes].

    The weight of all ways around the circle that leave a gene's state as they enter it is on the diagonal of a product
    of matrices, one a gene.
    """
    steps = np.array([[1, chain.enter], [chain.leave, 1]]) * np.exp(np.outer(evidence, [0, 1]))[:, None]
    before = accumulate(steps, lambda product, step: _scaled(product @ step))
    after = accumulate(steps[:0:-1], lambda product, step: _scaled(step @ product), initial=np.eye(2))
    around = np.array([late @ early for early, late in zip(before, [*after][::-1], strict=True)])
    return np.asarray(around[:, 1, 1] / np.trace(around, axis1=1, axis2=2))


def _scaled(weights: Floats) -> Floats:
    return np.asarray(weights / weights.sum())  # no product overflows


def _change(odds: float, to_virus: float, to_host: float) -> float:
    """Return log-odds of the state next to one with these log-odds."""
    viral = math.exp(min(odds, 700.0))
    return math.log((to_virus + viral) / (1 + viral * to_host))


def find_regions(
    contigs: pd.DataFrame,
    genes: pd.DataFrame,
    chain: Chain = CHAIN,
    least_score: float = LEAST_SCORE,
    circles: Container[str] = (),
) -> dict[str, list[Region]]:
    """Return the regions of the contigs that have any: the whole of those that are called viral, proviruses of others.

    From the table of calls, that of `genes_of_contigs`, and the names of the contigs that are circular.
    """
    spans, taken = spans_of(genes["contig"]), set(contigs["contig"])
    found = {}
    rows = zip(*(contigs[name].tolist() for name in ("contig", "length", "call", "genes", "score")), strict=True)
    for name, length, call, count, score in rows:
        if call == "viral":
            found[name] = [Region(name, 0, length, count, float(score), name)]
        elif name in spans and length > LEAST_BASES:
            proviruses = _proviruses(name, length, genes.iloc[slice(*spans[name])], chain, name in circles)
            found[name] = [_renamed(region, taken) for region in sorted(proviruses) if region.score >= least_score]
    return {contig: regions for contig, regions in found.items() if regions}


def _renamed(region: Region, taken: Container[str]) -> Region:
    """Return a provirus with a number behind its name if a contig of the sample has that name."""
    name, number = region.name, 1
    while name in taken:
        number += 1
        name = f"{region.name}_{number}"
    return region._replace(name=name)


def _proviruses(contig: str, length: int, genes: pd.DataFrame, chain: Chain, circular: bool) -> Iterator[Region]:
    """Yield the proviruses of a contig; none that holds all its genes."""
    evidence = evidence_of_genes(genes["log_odds"].to_numpy(np.float64), chain)
    posterior = circular_posterior if circular else viral_posterior
    viral = posterior(evidence.tolist(), chain) > 0.5
    places = genes[["start", "end"]].to_numpy(np.int64)
    if circular:  # read from a gene of the host on, so that no provirus is cut
        first = int(viral.argmin())
        places = np.concatenate([places[first:], places[:first] + length])
        evidence, viral = np.roll(evidence, -first), np.roll(viral, -first)
    borders = np.flatnonzero(np.diff(viral, prepend=False, append=False))
    for first, last in borders.reshape(-1, 2).tolist():
        start = int(places[first, 0])
        bases = min(length, int(places[first:last, 1].max()) - start)
        if last - first < LEAST_GENES or bases < LEAST_BASES or last - first == len(viral):
            continue
        score = float(expit(SCORE_WEIGHT * evidence[first:last].sum() + SCORE_BIAS))
        start %= length
        name = f"{contig}|provirus_{start + 1}_{start + bases}"
        yield Region(contig, start, start + bases, last - first, score, name)


def genes_of_contigs(proteins: pd.DataFrame, log_odds: Floats) -> pd.DataFrame:
    """Return what a contig is divided by: its genes, or its chunks with an open frame, a row each, in their order.

    Columns: `contig`, `start`, `end` and `log_odds`, of a chunk the mean over the residues of the frames that count.
    The proteins are a table of `describe_groups`.
    """
    columns = ["contig", "start", "end", "log_odds"]
    scored = proteins.assign(log_odds=log_odds, weighted=log_odds * proteins["residues"])
    if not (scored["chunk"] > 0).any():
        return scored[columns]
    grouped = scored[scored["counts"]].groupby(["contig", "chunk"], sort=False)
    chunks = grouped.agg({"start": "min", "end": "max", "weighted": "sum", "residues": "sum"}).reset_index()
    order = chunks.groupby("contig", sort=False).ngroup()  # chunks may be counted from the other end
    chunks = chunks.assign(log_odds=chunks["weighted"] / chunks["residues"], order=order)
    return chunks.sort_values(["order", "start"], kind="stable")[columns]
