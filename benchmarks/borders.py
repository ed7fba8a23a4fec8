"""Borders of curated prophages: the weights of their evidence, and the error by kind of evidence."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logsumexp

from virnucpro.calling.regions import Region, evidence_of_genes
from virnucpro.data.fasta import read_fasta
from virnucpro.data.records import read_contigs
from virnucpro.naming.borders import WEIGHTS, Ends, Genes, Side, Weights, border_refiner, find_ends

Span = tuple[int, int]
NEAR = 700  # bases between a curated border and the candidate that is taken for it


class Genome(NamedTuple):
    """A genome, its genes with their log-odds and probabilities to be integrases, and its curated prophages.

    Positions are from 0 and half-open.
    """

    name: str
    fasta: Path
    length: int
    genes: pd.DataFrame
    prophages: list[Span]


def shared(one: Span, other: Span) -> int:
    """Return the bases that two spans share."""
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))


def candidates(genome: Genome, regions: Sequence[Region]) -> list[tuple[Ends, int | None, int | None]]:
    """Return the candidates of regions that touch a prophage, and the numbers of those nearest to its borders."""
    ((_, sequence),) = read_fasta(genome.fasta)
    strands = np.where(genome.genes["strand"] == "-", -1, 1)
    evidence = evidence_of_genes(genome.genes["log_odds"].to_numpy(np.float64))
    starts, stops, integrases = (genome.genes[name].to_numpy() for name in ("start", "end", "integrase"))
    genes = Genes(starts, stops, strands, evidence, integrases).ordered()
    found = []
    for region in regions:
        over = [one for one in genome.prophages if shared((region.start, region.end), one)]
        if over:
            span = (region.start, region.end)
            ends = find_ends(sequence.upper().encode(), genes, span, (0, genome.length))
            start, end = min(over)[0], max(end for _, end in over)
            found.append((ends, nearest(ends.left, start), nearest(ends.right, -end)))
    return found


def nearest(side: Side, position: int) -> int | None:
    """Return the candidate that is nearest to a curated border, or None if it is far."""
    distances = np.abs(side.genes.starts[side.firsts] - position)
    number = int(distances.argmin())
    return number if distances[number] <= NEAR else None


def fit_borders(cases: Sequence[tuple[Ends, int | None, int | None]]) -> Weights:
    """Return the weights under which the curated borders are likeliest (conditional logit, McFadden 1974)."""

    def loss(values: npt.NDArray[np.float64]) -> float:
        total = 0.1 * float(np.square(values).sum())
        for ends, left, right in cases:
            scores = ends.scores(Weights(*values))
            rows = slice(None) if left is None else [left]
            columns = slice(None) if right is None else [right]
            total += float(logsumexp(scores) - logsumexp(scores[rows][:, columns]))
        return total

    return Weights(*minimize(loss, WEIGHTS, method="BFGS").x.tolist())


def refine(genome: Genome, regions: list[Region], weights: Weights) -> list[Region]:
    """Return the proviruses of a genome with refined borders."""
    if not regions:
        return []
    genes, name = genome.genes, regions[0].contig
    probable = genes["integrase"].to_numpy()
    log_odds = genes["log_odds"].to_numpy(np.float64)
    one = border_refiner(genes, log_odds, probable.__getitem__, [name], weights)
    contig = next(contig for contig in read_contigs(genome.fasta) if contig.name.decode() == name)
    return one(contig, regions)


def kind_of_border(evidence: str) -> str:
    """Return the strongest evidence for a border."""
    kinds = {"att": "attachment site", "integrase": "integrase", "RNA": "tRNA gene", "switch": "strand switch or gap"}
    kinds |= {"gap": "strand switch or gap"}
    return next((kind for word, kind in kinds.items() if word in evidence), evidence)


def describe_borders(genomes: Sequence[Genome], regions: dict[str, list[Region]]) -> str:
    """Return the border error of found prophages by the evidence for the border."""
    errors: dict[str, list[int]] = {}
    for genome in genomes:
        for region in regions[genome.name]:
            stated = [side.split(": ", 1)[1] for side in region.borders.split("; ")]
            for prophage in genome.prophages:
                if 2 * shared((region.start, region.end), prophage) >= prophage[1] - prophage[0]:
                    differences = region.start - prophage[0], region.end - prophage[1]
                    for one, difference in zip(stated, differences, strict=True):
                        errors.setdefault(kind_of_border(one), []).append(abs(difference))
    parts = [
        f"{kind}: {len(found)}, median {np.median(found):,.0f} bp, {np.mean(np.array(found) <= 600):.0%} within 600 bp"
        for kind, found in sorted(errors.items())
    ]
    return f"Borders by evidence: {'; '.join(parts)}."
