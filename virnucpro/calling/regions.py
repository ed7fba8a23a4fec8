"""Proviruses: viral stretches within contigs, by a segmentation of the log-odds of their genes.

The model is a chain of two states, virus and host, along the genes of a contig. It is a hidden Markov model, fitted as
a conditional random field (Lafferty et al. 2001). A gene's log-odds, clipped to +-4 and scaled, are evidence for one of
the states, and each change of state has a cost. The forward-backward algorithm gives the probability of each gene to be
viral. A provirus is a run of genes with a probability over 0.5. In a circular contig the last gene is followed by the
first. The four parameters of the chain, and the two that turn a region's evidence into a score, were fitted to curated
prophages (docs/proviruses.md).

A contig that is called viral may have ends of the host. Another chain finds them, and the region is the part between.
"""

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from virnucpro.data.arrays import Floats, Integers
from virnucpro.proteins.table import spans_of

PROVIRUS, VIRUS = "provirus", "virus"  # kinds of regions in names; VIRUS is a viral contig without its host ends
BOUND = 4.0  # log-odds of a gene are clipped to +-4, so that one gene is not a region
# Smallest provirus.
LEAST_GENES = 5
LEAST_BASES = 5_000
LEAST_SCORE = 0.5
# A provirus is listed if it has so many hallmark genes, or this score as a contig.
LEAST_HALLMARKS, LEAST_SCORE_ALONE = 2, 0.9


class Chain(NamedTuple):
    """Parameters of the segmentation.

    Attributes:
        weight, bias: Evidence of a gene is weight x log-odds + bias.
        enter, leave: Weights of the change from host to virus and back; no change has weight 1.
    """

    weight: float
    bias: float
    enter: float
    leave: float


CHAIN = Chain(0.281, 0.105, math.exp(-5.203), math.exp(-5.1))
HOST_ENDS = Chain(0.5, 0.0, math.exp(-4), math.exp(-4))  # for viral contigs
LEAST_MEAN = 1.5  # mean log-odds, clipped, of the genes of a viral contig between ends of the host
SCORE_WEIGHT, SCORE_BIAS = 0.519, -3.81  # log-odds of a region are weight x evidence + bias


class Region(NamedTuple):
    """A provirus, or a viral contig without its host ends.

    Attributes:
        contig: Name of the contig.
        start, end: Position on the contig, from 0, half-open. A region across the origin of a circular contig ends
            beyond the contig's length.
        genes: Number of genes, or of chunks with an open frame.
        score: Probability of being viral.
        name: Name of its sequence, unique in the sample: the contig's, CONTIG|provirus_START_END, or for a viral contig
            with host ends CONTIG|virus_START_END; counted from 1.
        borders: Evidence for the borders; empty if these are the chain's, or those of a contig.
    """

    contig: str
    start: int
    end: int
    genes: int
    score: float
    name: str
    borders: str = ""

    @property
    def is_provirus(self) -> bool:
        """Whether the region lies within a contig that is not called viral."""
        return self.name.removeprefix(self.contig).startswith(f"|{PROVIRUS}_")

    @property
    def is_between_ends(self) -> bool:
        """Whether the region is a viral contig without ends of the host."""
        return not (self.is_whole or self.is_provirus)

    @property
    def is_whole(self) -> bool:
        """Whether the region is a whole contig."""
        return self.name == self.contig


def evidence_of_genes(log_odds: Floats, chain: Chain = CHAIN) -> Floats:
    """Return the evidence of genes for a virus, float64 [genes], from their log-odds."""
    return chain.weight * np.clip(log_odds, -BOUND, BOUND) + chain.bias


def viral_posterior(evidence: Sequence[float], chain: Chain = CHAIN) -> Floats:
    """Return the probability of each gene to be viral, float64 [genes], from evidence in order along a contig.

    This is the forward-backward algorithm (Rabiner 1989, doi 10.1109/5.18626). With two states it works on log-odds.

    Examples:
        Twelve viral genes lie between genes of the host. The single gene 8 is not enough for a virus.

        >>> log_odds = np.full(50, -4.0)
        >>> log_odds[8] = log_odds[20:32] = 4.0
        >>> np.flatnonzero(viral_posterior(evidence_of_genes(log_odds).tolist()) > 0.5).tolist()
        [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]
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
    """Return the probability of each gene of a circular contig to be viral, float64 [genes].

    The product of one matrix per gene, around the circle from a gene back to itself, sums over all paths. Its diagonal
    has the weights of paths that end in the state in which they start.
    """
    steps = np.array([[1, chain.enter], [chain.leave, 1]]) * np.exp(np.outer(evidence, [0, 1]))[:, None]
    before = accumulate(steps, lambda product, step: _scaled(product @ step))
    after = accumulate(steps[:0:-1], lambda product, step: _scaled(step @ product), initial=np.eye(2))
    around = np.array([late @ early for early, late in zip(before, [*after][::-1], strict=True)])
    return np.asarray(around[:, 1, 1] / np.trace(around, axis1=1, axis2=2))


def _scaled(weights: Floats) -> Floats:
    return np.asarray(weights / weights.sum())  # avoids overflow


def _change(odds: float, to_virus: float, to_host: float) -> float:
    """Return the log-odds of the next state from the log-odds of this one."""
    viral = math.exp(min(odds, 700.0))
    return math.log((to_virus + viral) / (1 + viral * to_host))


def find_regions(
    contigs: pd.DataFrame,
    genes: pd.DataFrame,
    chain: Chain = CHAIN,
    least_score: float = LEAST_SCORE,
    circles: Container[str] = (),
) -> dict[str, list[Region]]:
    """Return the regions of contigs that have any: a viral contig without its host ends, else proviruses.

    Args:
        genes: Table of `genes_of_contigs`.
        circles: Names of circular contigs.

    Examples:
        A contig of the host has 60 genes of 1 kb. Genes 20 to 39 are viral.

        >>> contigs = {"contig": ["c1"], "length": 60_000, "call": "cellular", "genes": 60, "score": "0.0100"}
        >>> genes = pd.DataFrame({"contig": "c1", "start": range(0, 60_000, 1_000), "log_odds": -4.0})
        >>> genes.loc[20:39, "log_odds"] = 4.0
        >>> find_regions(pd.DataFrame(contigs), genes.assign(end=genes["start"] + 1_000))["c1"][0].name
        'c1|provirus_20001_40000'
    """
    spans, taken = spans_of(genes["contig"]), set(contigs["contig"])
    found = {}
    rows = zip(*(contigs[name].tolist() for name in ("contig", "length", "call", "genes", "score")), strict=True)
    for name, length, call, count, score in rows:
        if call == "viral":
            whole = Region(name, 0, length, count, float(score), name)
            has_ends = name in spans and name not in circles
            found[name] = [without_host_ends(whole, genes.iloc[slice(*spans[name])], taken) if has_ends else whole]
        elif name in spans and length > LEAST_BASES:
            proviruses = _proviruses(name, length, genes.iloc[slice(*spans[name])], chain, name in circles)
            named = (name_region(region, PROVIRUS, taken) for region in sorted(proviruses))
            found[name] = [region for region in named if region.score >= least_score]
    return {contig: regions for contig, regions in found.items() if regions}


def supported(regions: Mapping[str, Sequence[Region]], hallmarks: Mapping[str, str]) -> dict[str, list[Region]]:
    """Return regions without the proviruses that have neither hallmark genes nor a high score.

    Such regions lie in plasmids more often than in chromosomes (docs/proviruses.md).

    Args:
        regions: Regions, by the names of contigs. A provirus has the score of a contig with its genes.
        hallmarks: Number of hallmark genes by the names of regions, as text; empty if functions are not known.
    """

    def is_supported(region: Region) -> bool:
        count = hallmarks[region.name]
        return not (region.is_provirus and count) or int(count) >= LEAST_HALLMARKS or region.score >= LEAST_SCORE_ALONE

    kept = {contig: list(filter(is_supported, found)) for contig, found in regions.items()}
    return {contig: found for contig, found in kept.items() if found}


def without_host_ends(whole: Region, genes: pd.DataFrame, taken: Container[str]) -> Region:
    """Return the part of a viral contig from its first to its last viral gene; the whole if no end is of the host.

    Args:
        whole: The whole contig.
        genes: Its rows of the table of `genes_of_contigs`.
        taken: Names of all contigs of the sample.
    """
    log_odds = genes["log_odds"].to_numpy(np.float64)
    evidence = evidence_of_genes(log_odds, HOST_ENDS)
    viral = np.flatnonzero(viral_posterior(evidence.tolist(), HOST_ENDS) > 0.5)
    if not len(viral) or len(viral) == len(genes):
        return whole
    first, last = int(viral[0]), int(viral[-1]) + 1
    outside = first, len(genes) - last
    if not any(outside) or np.clip(log_odds[first:last], -BOUND, BOUND).mean() < LEAST_MEAN:
        return whole
    start = int(genes["start"].iloc[first]) if first else 0
    end = int(genes["end"].iloc[first:last].max()) if last < len(genes) else whole.end
    stated = [f"{count} host genes" if count else "contig end" for count in outside]
    borders = f"left: {stated[0]}; right: {stated[1]}"
    return name_region(whole._replace(start=start, end=end, genes=last - first, borders=borders), VIRUS, taken)


def name_region(region: Region, kind: str, taken: Container[str]) -> Region:
    """Return a region with a name by its kind and place, and a number after it if a contig has the same name.

    Args:
        kind: `PROVIRUS` or `VIRUS`.
        taken: Names of all contigs of the sample.
    """
    name = first = f"{region.contig}|{kind}_{region.start + 1}_{region.end}"
    number = 1
    while name in taken:
        number += 1
        name = f"{first}_{number}"
    return region._replace(name=name)


def _proviruses(contig: str, length: int, genes: pd.DataFrame, chain: Chain, circular: bool) -> Iterator[Region]:
    """Yield the unnamed proviruses of a contig, except a region of all its genes: the contig's call covers it."""
    evidence = evidence_of_genes(genes["log_odds"].to_numpy(np.float64), chain)
    posterior = circular_posterior if circular else viral_posterior
    viral = posterior(evidence.tolist(), chain) > 0.5
    places = genes[["start", "end"]].to_numpy(np.int64)
    if circular:  # start at a gene of the host, so that no provirus is cut
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
        yield Region(contig, start, start + bases, last - first, score, "")


def genes_of_contigs(proteins: pd.DataFrame, log_odds: Floats) -> pd.DataFrame:
    """Return the units that regions consist of, in order: genes, or chunks with an open frame.

    Columns: `contig`, `start`, `end` and `log_odds`. Log-odds of a chunk are the mean over frames that count, weighted
    by residues. `proteins` is a table of `describe_groups`.
    """
    columns = ["contig", "start", "end", "log_odds"]
    scored = proteins.assign(log_odds=log_odds, weighted=log_odds * proteins["residues"])
    if not (scored["chunk"] > 0).any():
        return scored[columns]
    grouped = scored[scored["counts"]].groupby(["contig", "chunk"], sort=False)
    chunks = grouped.agg({"start": "min", "end": "max", "weighted": "sum", "residues": "sum"}).reset_index()
    order = chunks.groupby("contig", sort=False).ngroup()  # chunks may be numbered from the other end
    chunks = chunks.assign(log_odds=chunks["weighted"] / chunks["residues"], order=order)
    return chunks.sort_values(["order", "start"], kind="stable")[columns]


def genes_within(region: Region, genes: Integers, places: Integers, length: int) -> Integers:
    """Return the rows of the genes that lie in a region, also across the origin of a circular contig.

    Args:
        region: The region.
        genes: Rows of the genes of its contig.
        places: Start and end of all genes, int64 [all genes, 2].
        length: Length of the contig in bases.
    """
    start = (places[genes, 0] - region.start) % length
    within: Integers = genes[start + places[genes, 1] - places[genes, 0] <= region.end - region.start]
    return within


def cut_out(
    regions: Iterable[Region], proteins: pd.DataFrame, lengths: "pd.Series[int]"
) -> tuple[pd.DataFrame, Integers]:
    """Return the proteins of regions as those of contigs with their names, and the rows of these proteins.

    Args:
        regions: One or more.
        proteins: Table of `describe_groups`.
        lengths: Lengths of contigs in bases, by their names.
    """
    spans, places = spans_of(proteins["contig"]), proteins[["start", "end"]].to_numpy(np.int64)
    rows = {
        one.name: genes_within(one, np.arange(*spans[one.contig]), places, int(lengths[one.contig])) for one in regions
    }
    chosen = np.concatenate(list(rows.values()))
    names = np.repeat(list(rows), [len(found) for found in rows.values()])
    return proteins.iloc[chosen].assign(contig=names), chosen
