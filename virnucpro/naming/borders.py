"""Borders of proviruses, by integrases, attachment sites and the arrangement of genes.

The chain of `virnucpro.calling.regions` ends a region at the last gene that looks viral. A prophage ends where it was
integrated: beside its integrase, and at one of two copies of the attachment site (attL and attR), often in a tRNA gene.
Each gene near a border of the chain is a candidate for the first gene inside. A linear score ranks pairs of candidates,
one for each border. Its five weights were fitted to curated prophages (docs/proviruses.md).
"""

from collections.abc import Callable, Container, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from virnucpro.calling.classifier import protein_inputs
from virnucpro.calling.features import Features
from virnucpro.calling.regions import PROVIRUS, Region, evidence_of_genes, genes_within, name_region
from virnucpro.data.arrays import Floats, Integers
from virnucpro.data.records import Record
from virnucpro.naming.heads import Heads
from virnucpro.naming.repeats import Repeats, possible_sites
from virnucpro.proteins.table import spans_of

REACH = 10_000  # bp that a border moves at most
INWARD = 0.25  # of its region's length that a border moves at most
INTEGRASE = "integrase"
LEAST_INTEGRASE = 0.5  # probability from which the evidence states an integrase
LEAST_GAP = 300  # bp between genes from which the evidence states a gap
AT_BORDER = 100  # bp between a border and a tRNA gene that the evidence states
AROUND = 500  # bp on each side of a border that are searched; a tmRNA gene has up to 400


class Weights(NamedTuple):
    """Weights of the evidence for a candidate.

    Attributes:
        evidence: Weight of the evidence of genes that the region gains, minus that of genes that it loses.
        integrase: Weight of the probability that the first gene inside is an integrase.
        switch: Weight of a change of strand between the genes beside the border.
        gap: Weight of the logarithm (base 10) of one plus the bases between these genes.
        site: Weight of an attachment site at both borders.
    """

    evidence: float
    integrase: float
    switch: float
    gap: float
    site: float


WEIGHTS = Weights(0.69, 3.64, 0.72, 0.66, 2.50)


class Genes(NamedTuple):
    """Genes of a contig, each an array [genes], in the order of their starts.

    Attributes:
        starts, ends: Positions, from 0, half-open; int64.
        strands: 1 or -1; int64.
        evidence: Evidence for a virus, float64.
        integrases: Probability of being an integrase, float64; 0 if it is not known.
    """

    starts: Integers
    ends: Integers
    strands: Integers
    evidence: Floats
    integrases: Floats

    def at(self, rows: Integers) -> "Genes":
        """Return the genes with these numbers."""
        return Genes(self.starts[rows], self.ends[rows], self.strands[rows], self.evidence[rows], self.integrases[rows])

    def ordered(self) -> "Genes":
        """Return the genes in the order of their starts."""
        return self.at(np.argsort(self.starts, kind="stable"))

    def turned(self) -> "Genes":
        """Return the genes read from the other end, so that position x is -x."""
        return Genes(-self.ends, -self.starts, self.strands, self.evidence, self.integrases).ordered()


class Side(NamedTuple):
    """Candidates for one border of a region, read from outside to inside.

    Attributes:
        genes: Genes of the contig; for the right border read from the other end, so that position x is -x.
        firsts: Candidates for the first gene inside, int64 [candidates].
        values: Evidence of the candidates in the order of `Weights`, without sites, float64 [candidates, 4].
    """

    genes: Genes
    firsts: Integers
    values: Floats


class Ends(NamedTuple):
    """Candidates for both borders of a region.

    Attributes:
        left, right: Candidates for each border.
        repeats: Direct repeats that may be attachment sites.
        sites: Number of the longest repeat that lies at both candidates, int64 [left, right]; -1 if there is none.
    """

    left: Side
    right: Side
    repeats: Repeats
    sites: Integers

    def scores(self, weights: Weights) -> Floats:
        """Return the score of each pair of candidates, float64 [left, right]."""
        left, right = (side.values @ np.array(weights[:-1]) for side in (self.left, self.right))
        return np.asarray(left[:, None] + right + weights.site * (self.sites >= 0))

    def span(self, left: int, right: int) -> tuple[int, int]:
        """Return start and end of the region between two candidates: the site's outer ends, or the genes' ends."""
        site = self.sites[left, right]
        if site >= 0:
            return int(self.repeats.left[site]), int(self.repeats.right[site] + self.repeats.lengths[site])
        start, end = (
            int(side.genes.starts[side.firsts[number]]) for side, number in ((self.left, left), (self.right, right))
        )
        return start, -end


def find_ends(
    letters: bytes, genes: Genes, span: tuple[int, int], limits: tuple[int, int], circular: bool = False
) -> Ends:
    """Return the candidates for the borders of a region.

    Args:
        letters: Sequence of the contig.
        genes: Its genes. For a circle, letters and genes are given for three turns.
        span: Start and end of the region by the chain.
        limits: Lowest start and highest end.
        circular: Whether the contig is circular.
    """
    start, end = span
    inward = min(REACH, int(INWARD * (end - start)))
    outside = max(limits[0], start - REACH), min(limits[1], end + REACH)
    inside = start + inward, end - inward
    left = _side(genes, start, (outside[0], inside[0]), circular)
    right = _side(genes.turned(), -end, (-outside[1], -inside[1]), circular)
    repeats = possible_sites(letters, (outside[0], inside[0]), (inside[1], outside[1]))
    rows = _candidates_at(left, repeats.left, circular)
    columns = _candidates_at(right, -repeats.right - repeats.lengths, circular)
    sites = np.full((len(left.firsts), len(right.firsts)), -1)
    for number in np.argsort(repeats.lengths, kind="stable").tolist():  # the longest is the last
        if rows[number] >= 0 and columns[number] >= 0:
            sites[rows[number], columns[number]] = number
    return Ends(left, right, repeats, sites)


def _side(genes: Genes, chain: int, limits: tuple[int, int], circular: bool) -> Side:
    """Return the candidates with a start within limits; a region that begins at the contig's end stays there."""
    first = int(np.searchsorted(genes.starts, chain))
    firsts = np.flatnonzero((genes.starts >= limits[0]) & (genes.starts <= limits[1]))
    if first == 0 and not circular:
        firsts = firsts[:1]
    before = np.concatenate([genes.starts[:1], np.maximum.accumulate(genes.ends)[:-1]])
    gaps = np.log10(1 + np.maximum(genes.starts - before, 0))
    switches = np.diff(genes.strands, prepend=genes.strands[:1]) != 0
    skipped = np.cumsum(genes.evidence) - genes.evidence
    values = np.column_stack([skipped[first] - skipped, genes.integrases, switches, gaps])
    return Side(genes, firsts, values[firsts])


def _candidates_at(side: Side, positions: Integers, circular: bool) -> Integers:
    """Return the candidate that is the first gene from each position on, int64 [positions]; -1 if there is none."""
    genes = np.searchsorted(side.genes.starts, positions)
    numbers = np.minimum(np.searchsorted(side.firsts, genes), len(side.firsts) - 1)
    return np.where((side.firsts[numbers] == genes) & (circular | (genes > 0)), numbers, -1)


def rna_genes(letters: bytes, position: int) -> list[str]:
    """Return the tRNA and tmRNA genes at a border, e.g. tRNA-Leu; none if pyaragorn is not installed."""
    try:
        from pyaragorn import RNAFinder  # GPL, so it is optional
    except ImportError:
        return []
    first = max(0, position - AROUND)
    found = RNAFinder(11, linear=True).find_rna(letters[first : position + AROUND])
    near = [one for one in found if abs(2 * (first - position) + one.begin + one.end) <= 2 * AT_BORDER + one.length]
    return [f"tRNA-{one.amino_acid}" if one.type == "tRNA" else one.type for one in near]


def find_integrases(proteins: pd.DataFrame, features: Features, heads: Heads | None) -> Callable[[Integers], Floats]:
    """Return a function from numbers of proteins to their probabilities of being integrases, float64 [numbers].

    It is 0 for a protein without an embedding. Without heads that know integrases, all are 0.
    """
    functions = heads.described.functions if heads else ()

    def probabilities(numbers: Integers) -> Floats:
        found = np.zeros(len(numbers))
        if heads and INTEGRASE in functions:
            embedded = features.embedded[numbers]
            rows = numbers[embedded]
            inputs = protein_inputs(features.embeddings(rows), proteins.iloc[rows])
            of_genes = heads.function.probabilities(inputs, np.ones(len(rows), np.int64))
            found[embedded] = of_genes[:, functions.index(INTEGRASE)]
        return found

    return probabilities


def border_refiner(
    proteins: pd.DataFrame,
    log_odds: Floats,
    integrases: Callable[[Integers], Floats],
    names: Container[str],
    weights: Weights = WEIGHTS,
) -> Callable[[Record, list[Region]], list[Region]]:
    """Return a function from a contig and its regions to regions with refined borders, and their evidence as `borders`.

    Viral contigs stay as they are. Chunks have no borders of genes: so do all regions after frames.

    Args:
        proteins: Table of `describe_groups`.
        log_odds: Log-odds of the proteins, float64 [proteins].
        integrases: Result of `find_integrases`.
        names: Names of all contigs of the sample.
    """
    has_genes = not (proteins["kind"] == "frame").any()
    spans, places = spans_of(proteins["contig"]), proteins[["start", "end"]].to_numpy(np.int64)

    def refine(contig: Record, regions: list[Region]) -> list[Region]:
        if not has_genes or not regions[0].is_provirus:
            return regions
        rows, length = np.arange(*spans[regions[0].contig]), len(contig.letters)
        wide = (one._replace(start=one.start - REACH, end=one.end + REACH) for one in regions)
        near = np.unique(np.concatenate([genes_within(one, rows, places, length) for one in wide]))
        probable = np.zeros(len(rows))
        probable[near - rows[0]] = integrases(near)
        strands = np.where(proteins["strand"].iloc[rows] == "-", -1, 1)
        starts, ends = places[rows].T
        genes = Genes(starts, ends, strands, evidence_of_genes(log_odds[rows]), probable)
        return list(_refined(contig, regions, genes, names, weights))

    return refine


def _refined(
    contig: Record, regions: Sequence[Region], genes: Genes, names: Container[str], weights: Weights
) -> Iterator[Region]:
    """Yield the proviruses of a contig with refined borders; neighbors share the bases between them equally."""
    length, circular, letters = len(contig.letters), contig.circular, contig.letters
    starts = [*(region.start for region in regions), regions[0].start + length]
    middles = [(region.end + start) // 2 for region, start in zip(regions, starts[1:], strict=True)]
    limits = [middles[-1] - length if circular else 0, *middles[:-1], middles[-1] if circular else length]
    shift = length if circular else 0
    if circular:  # the turn before and the turn after
        turns = np.repeat([0, length, 2 * length], len(genes.starts))
        genes, letters = genes.at(np.tile(np.arange(len(genes.starts)), 3)), letters * 3
        genes = genes._replace(starts=genes.starts + turns, ends=genes.ends + turns)
    genes = genes.ordered()
    for region, lowest, highest in zip(regions, limits, limits[1:], strict=False):
        outside = min(lowest, region.start) + shift, max(highest, region.end) + shift
        ends = find_ends(letters, genes, (region.start + shift, region.end + shift), outside, circular)
        start, end, borders = _decide(letters, ends, circular, weights)
        count = int(((genes.starts >= start) & (genes.ends <= end)).sum())
        begin = (start - shift) % length
        refined = region._replace(start=begin, end=begin + end - start, genes=count, borders=borders)
        yield name_region(refined, PROVIRUS, names)


def _decide(letters: bytes, ends: Ends, circular: bool, weights: Weights) -> tuple[int, int, str]:
    """Return start and end of a region between its best candidates, and their evidence."""
    scores = ends.scores(weights)
    best = divmod(int(scores.argmax()), scores.shape[1])
    places, site, stated = list(ends.span(*best)), ends.sites[best], []
    for at, (side, name) in enumerate(((ends.left, "attL"), (ends.right, "attR"))):
        if side.firsts[best[at]] == 0 and not circular:
            places[at] = at * len(letters)
            stated.append("contig end")
            continue
        words = rna_genes(letters, places[at])
        if site >= 0:
            size, expected = ends.repeats.lengths[site], 10 ** ends.repeats.log_expected[site]
            words = [" at ".join([f"{name} {size} bp (E {expected:.0e})", *words])]
        _, integrase, switch, gap = side.values[best[at]]
        truths = {INTEGRASE: integrase >= LEAST_INTEGRASE, "strand switch": switch, "gap": gap >= np.log10(LEAST_GAP)}
        stated.append(", ".join([*words, *(word for word, holds in truths.items() if holds)]) or "chain only")
    return places[0], places[1], f"left: {stated[0]}; right: {stated[1]}"
