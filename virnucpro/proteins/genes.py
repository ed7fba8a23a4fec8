"""Genes of contigs, by Prodigal with models of viruses (pyrodigal-gv), or open reading frames if it finds no gene.

Prodigal: Hyatt et al. 2010, doi 10.1186/1471-2105-11-119; its models of viruses and of genetic codes: Camargo et al.
2024, doi 10.1038/s41587-023-01953-y; pyrodigal: Larralde 2022, doi 10.21105/joss.04296.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from virnucpro.data.records import PARTIAL, Record
from virnucpro.proteins.translation import reverse_complement, translate_everywhere

if TYPE_CHECKING:
    from pyrodigal_gv import ViralGeneFinder

GENETIC_CODE = 11  # bacteria, archaea and most viruses; used where Prodigal chose no code
GAP = 10  # N in a row that no gene crosses: the assembler guessed their number
SHORTEST_ORF = 30  # residues
CIRCLE_ENDS = 50_000  # bases of a circular contig that are added beyond each end; longer than a gene
FEW_STARTS = 16  # rotations that are compared as whole strings

_ORF = re.compile(rb"[A-Z]{%d,}" % SHORTEST_ORF)


class Gene(NamedTuple):
    """A gene, or an open reading frame of a contig without a gene. The table of proteins has the same fields.

    Attributes:
        start, end: Position on the contig, including the stop codon; from 0, half-open, on either strand.
        strand: + or -.
        kind: gene or orf.
        genetic_code: NCBI's number of the translation table.
        partial: Missing ends of the protein: no, start, end or both. An end is missing if the contig ends there. The
            end of an orf is missing also at an ambiguous codon.
        protein: Residues; X for a codon with an ambiguous letter.
    """

    start: int
    end: int
    strand: bytes
    kind: bytes
    genetic_code: int
    partial: bytes
    protein: bytes


def find_genes(contigs: Sequence[Record], threads: int = 1) -> list[list[Gene]]:
    """Return the genes of each contig, sorted by position.

    A contig and its reverse complement have the same genes: Prodigal reads the strand that comes first in the alphabet.
    If a contig is too short for Prodigal, or has no gene, its open reading frames between stops are returned, in all
    six frames. A circular contig is read from its `least_rotation`, so its genes do not depend on where it was opened.
    A gene that spans the origin is found whole, and ends beyond the contig's length.

    Args:
        contigs: Contigs in upper-case letters.
        threads: Number of threads; the result does not depend on it.

    Examples:
        Bases 1,258 to 1,439 of phage T7 (NC_001604.1) hold gene 0.4.

        >>> t7 = (
        ...     b"TACGAGGAGGATGAAGAGTAATGTCTACTACCAACGTGCAATACGGTCTGACCGCTCAAACTGTACTTTTCTATAGCGACATGGTGCGC"
        ...     b"TGTGGCTTTAACTGGTCACTCGCAATGGCACAGCTCAAAGAACTGTACGAAAACAACAAGGCAATAGCTTTAGAATCTGCTGAGTGATAGACT"
        ... )
        >>> [[gene]] = find_genes([Record(b"T7", t7)])
        >>> gene.start, gene.end, gene.strand, gene.partial
        (20, 176, b'+', b'no')
        >>> gene.protein
        b'MSTTNVQYGLTAQTVLFYSDMVRCGFNWSLAMAQLKELYENNKAIALESAE'
    """
    with ThreadPoolExecutor(threads) as pool:  # pyrodigal releases the GIL
        return list(pool.map(_find_in, contigs))


def find_orfs(contig: Record) -> list[Gene]:
    """Return the open reading frames of a contig, as `find_genes` does if the contig has no gene."""
    return _find_in(contig, orfs_alone=True)


def _find_in(contig: Record, orfs_alone: bool = False) -> list[Gene]:
    length = len(contig.letters)
    strands = contig.letters, reverse_complement(contig.letters)
    origins = [least_rotation(strand) if contig.circular else 0 for strand in strands]
    rotated = [strand[origin:] + strand[:origin] for strand, origin in zip(strands, origins, strict=True)]
    letters, is_opposite, origin = min(zip(rotated, (False, True), origins, strict=True))
    found = [_move(gene, gene.start + origin, length) for gene in _read(letters, contig.circular, orfs_alone)]
    return sorted(_turn(gene, length) for gene in found) if is_opposite else sorted(found)


def least_rotation(letters: bytes) -> int:
    """Return the start of the rotation of a circle that comes first in the alphabet.

    Starts are compared by longer and longer prefixes until few are left. If two starts with equal prefixes of `size`
    letters are `size` apart, the second is dropped: its rotation comes first only if the other does too.
    """
    circle = np.frombuffer(letters, np.uint8)
    starts, size = np.arange(len(circle)), 0
    while len(starts) > FEW_STARTS:
        following = circle[(starts + size) % len(circle)]
        starts, size = starts[following == following.min()], size + 1
        first = starts[~np.isin((starts - size) % len(circle), starts)]
        starts = first if len(first) else starts[:1]  # in a circle of repeats all rotations are equal
    doubled = letters * 2
    return min(starts.tolist(), key=lambda start: doubled[start : start + len(letters)], default=0)


def _read(letters: bytes, circular: bool, orfs_alone: bool) -> list[Gene]:
    orfs = open_reading_frames
    sources = [_genes(letters), orfs(letters)]
    if circular:  # a frame without a stop has no end on a circle: it is read as linear
        sources = [_around(_genes, letters), _around(orfs, letters), orfs(letters)]
    sources = sources[orfs_alone:]
    return next(filter(None, map(list, sources)), [])


def _around(find: Callable[[bytes], Iterator[Gene]], letters: bytes) -> Iterator[Gene]:
    """Yield each gene of a circle once, and whole."""
    length = len(letters)
    more = min(CIRCLE_ENDS, length)
    for gene in find(letters[length - more :] + letters + letters[:more]):
        start = gene.start - more
        if 0 <= start < length and gene.end - gene.start <= length:
            yield _move(gene, start, length)


def _move(gene: Gene, start: int, length: int) -> Gene:
    """Return a gene with a new start; a gene that spans the origin ends beyond the contig."""
    start %= length
    return gene._replace(start=start, end=start + gene.end - gene.start)


def _turn(gene: Gene, length: int) -> Gene:
    """Return a gene with its position on the reverse complement of its contig."""
    return _move(gene, length - gene.end, length)._replace(strand=b"-" if gene.strand == b"+" else b"+")


@cache
def _finder() -> "ViralGeneFinder":
    from pyrodigal_gv import ViralGeneFinder  # loaded here: its models take a second or two

    return ViralGeneFinder(meta=True, closed=False, mask=True, min_mask=GAP)


def _genes(letters: bytes) -> Iterator[Gene]:
    for gene in _finder().find_genes(letters):
        forward = gene.strand > 0
        partial = (gene.partial_begin, gene.partial_end)
        yield Gene(
            start=gene.begin - 1,
            end=gene.end,
            strand=b"+" if forward else b"-",
            kind=b"gene",
            genetic_code=gene.translation_table,
            partial=PARTIAL[partial if forward else partial[::-1]],
            protein=gene.translate(include_stop=False).encode(),
        )


def open_reading_frames(letters: bytes) -> Iterator[Gene]:
    """Yield runs of 30 codons or more without a stop or an ambiguous letter, in all six frames."""
    for strand, residues in zip((b"+", b"-"), translate_everywhere(letters, GENETIC_CODE), strict=True):
        for phase in range(3):
            frame = residues[phase::3]
            for run in _ORF.finditer(frame):
                first, last = run.span()
                partial = (frame[first - 1 : first] != b"*", frame[last : last + 1] != b"*")  # before it, after it
                forward = strand == b"+"
                stop_before, stop_after = not forward and not partial[0], forward and not partial[1]
                yield Gene(
                    start=phase + 3 * (first - stop_before),
                    end=phase + 3 * (last + stop_after),
                    strand=strand,
                    kind=b"orf",
                    genetic_code=GENETIC_CODE,
                    partial=PARTIAL[partial if forward else partial[::-1]],
                    protein=run[0] if forward else run[0][::-1],
                )
