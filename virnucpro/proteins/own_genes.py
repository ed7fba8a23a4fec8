"""Genes of contigs from a GFF3 or GenBank file of the user."""

import logging
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from Bio.Data.CodonTable import unambiguous_dna_by_id

from virnucpro.data.annotation import Cds, read_cds
from virnucpro.data.records import PARTIAL, RESIDUES, Record
from virnucpro.errors import UserError, printable
from virnucpro.proteins.genes import Gene, find_orfs
from virnucpro.proteins.translation import reverse_complement, translate_everywhere

logger = logging.getLogger(__name__)

CODON = 3
SHOWN = 3  # genes named in a warning


class LeftOut(NamedTuple):
    """A gene of the file that is not used, and the reason; positions count from 1."""

    gene: str
    contig: str
    start: int
    end: int
    strand: str
    reason: str


class _Unfit(Exception):
    """The reason why a gene cannot be used."""


class OwnGenes:
    r"""Genes of a GFF3 or GenBank file.

    Attributes:
        count: Number of genes in the file.
        left_out: Genes that do not fit the contigs that were asked for.

    Raises:
        UserError: The file cannot be read.

    Examples:
        A gene of one codon and a stop.

        >>> columns = "c1", "prodigal", "CDS", "3", "8", ".", "-", "0", "ID=1_1"
        >>> _ = Path("genes.gff").write_text("\t".join(columns))
        >>> OwnGenes(Path("genes.gff")).of_contig(Record(b"c1", b"GGTTACATGG"))
        [Gene(start=2, end=8, strand=b'-', kind=b'gene', genetic_code=11, partial=b'no', protein=b'M')]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.left_out: list[LeftOut] = []
        self._genes: dict[str, list[Cds]] = defaultdict(list)  # by the first name of the contig
        self._names: dict[str, str] = {}  # the first name of a contig, by each of its names
        for cds in read_cds(path):
            self.count += 1
            self._genes[cds.contigs[0]].append(cds)
            for name in cds.contigs:
                self._names.setdefault(name, cds.contigs[0])

    def of_contig(self, contig: Record) -> list[Gene]:
        """Return the genes of a contig, sorted by position; without any, its open reading frames.

        Genes of a contig without a sequence are the translations in the file.
        """
        fit = _take_translation if contig.unknown else _translate_gene
        genes = []
        for cds in self._genes.pop(self._names.get(contig.name.decode(), ""), []):
            try:
                genes.append(fit(cds, contig))
            except _Unfit as reason:
                self._leave_out(cds, str(reason))
        return sorted(genes) or find_orfs(contig)

    def leave_out_the_rest(self) -> None:
        """Leave out the genes of contigs that were not asked for."""
        for rest in self._genes.values():
            for cds in rest:
                self._leave_out(cds, f"no contig is named {cds.contigs[0]}")

    def warn_of_left_out(self, used: int) -> None:
        """Warn of genes that were left out; raise a UserError if none is used."""
        self.leave_out_the_rest()
        if not self.left_out:
            return
        named = [f"{gene.gene} ({gene.contig}:{gene.start}-{gene.end}): {gene.reason}" for gene in self.left_out]
        if not used:
            hint = "give the contigs in which the genes were found, with the same ids"
            raise UserError(f"{self.path}: all {self.count:,} genes are left out: {named[0]}; {hint}")
        more = f"; and {len(named) - SHOWN:,} more, all in left_out.tsv" if len(named) > SHOWN else ""
        shown = "; ".join(named[:SHOWN]) + more
        logger.warning("%s: %d of %d genes are left out: %s", self.path, len(named), self.count, shown)

    def _leave_out(self, cds: Cds, reason: str) -> None:
        start, end = (cds.parts[0][0] + 1, cds.parts[-1][1]) if cds.parts else (0, 0)
        contig = cds.contigs[0]
        self.left_out.append(LeftOut(printable(cds.name), printable(contig), start, end, cds.strand, printable(reason)))


class _Place(NamedTuple):
    """Where a gene lies on its contig.

    Attributes:
        parts: Start and end of its parts in the order along the contig; from 0, half-open.
        start, end: First and last base of its whole codons; from 0, half-open.
        phase: Bases before the first whole codon.
        rest: Bases after the last whole codon.
        open_start, open_end: Whether the file says that the protein continues there.
    """

    parts: list[tuple[int, int]]
    start: int
    end: int
    phase: int
    rest: int
    open_start: bool
    open_end: bool

    @property
    def codons(self) -> int:
        """Number of whole codons, including the stop codon."""
        return (sum(end - start for start, end in self.parts) - self.phase) // CODON


def _find_place(cds: Cds, contig: Record) -> _Place:
    """Return the place of a gene; raise _Unfit if the contig does not have it."""
    length, forward = contig.length, cds.strand == "+"
    if cds.is_pseudo:
        raise _Unfit("a pseudogene")
    if cds.strand == "." or any(start >= end for start, end, _ in cds.parts):
        raise _Unfit("no single strand, or no location on this contig")
    if cds.genetic_code not in unambiguous_dna_by_id:
        raise _Unfit(f"genetic code {cds.genetic_code} is unknown")
    parts = _around_origin(cds.parts, length)
    (start, _, _), (_, end, _) = parts[0], parts[-1]
    if length <= start and end <= length + contig.repeat:
        raise _Unfit(f"in the last {contig.repeat:,} bases of its circle, which repeat the first")
    if start < 0 or start >= length or (end > length and not contig.circular) or end - start > length:
        hint = "" if contig.circular else ", and no mark says that it is circular"
        raise _Unfit(f"it leaves the contig of {length:,} bases{hint}")
    phase = parts[0 if forward else -1][2]
    bases = sum(stop - begin for begin, stop, _ in parts) - phase
    rest = bases % CODON
    open_start, open_end = (cds.open_left, cds.open_right)[:: 1 if forward else -1]
    reaches_edge = end == length if forward else start == 0
    if rest and not open_end and not reaches_edge:
        raise _Unfit(f"its {bases:,} bases are no multiple of three")
    start, end = (start + phase, end - rest) if forward else (start + rest, end - phase)
    return _Place(
        [(begin, stop) for begin, stop, _ in parts], start, end, phase, rest, open_start or phase > 0, open_end
    )


def _translate_gene(cds: Cds, contig: Record) -> Gene:
    """Return a gene with its translation; raise _Unfit if it does not fit the contig."""
    place, forward = _find_place(cds, contig), cds.strand == "+"
    start, end = place.start, place.end
    circle = contig.letters * (1 + (place.parts[-1][1] > len(contig.letters)))
    bases = b"".join(circle[begin:stop] for begin, stop in place.parts)
    coding = (bases if forward else reverse_complement(bases))[place.phase :]
    residues = _translate(coding, cds.genetic_code)
    if not place.open_end and not residues.endswith(b"*") and not place.rest:  # some finders leave out the stop codon
        next_codon = circle[end : end + CODON] if forward else reverse_complement(circle[max(start - CODON, 0) : start])
        if _translate(next_codon, cds.genetic_code) == b"*":
            residues += b"*"
            start, end = (start, end + CODON) if forward else (start - CODON, end)
    has_stop = residues.endswith(b"*")
    begins = coding[:CODON].decode() in unambiguous_dna_by_id[cds.genetic_code].start_codons
    open_start = place.open_start or not begins
    protein = residues.removesuffix(b"*")
    if protein and not open_start:
        protein = b"M" + protein[1:]
    translation = _translation_of_file(cds)
    if len(translation) == len(protein) and not translation.translate(None, RESIDUES):
        protein = translation  # has, for instance, selenocysteine
    if b"*" in protein:
        raise _Unfit(f"a stop codon after {protein.index(b'*'):,} of its {len(protein):,} residues")
    if not protein:
        raise _Unfit("no codon before its stop")
    partial = PARTIAL[open_start, not has_stop]
    return Gene(start, end, cds.strand.encode(), b"gene", cds.genetic_code, partial, protein)


def _take_translation(cds: Cds, contig: Record) -> Gene:
    """Return a gene of a contig without a sequence; raise _Unfit if the file has no translation that fits."""
    place = _find_place(cds, contig)
    protein = _translation_of_file(cds)
    if not protein:
        raise _Unfit("no translation in the file, and no sequence of the contig")
    if other := protein.translate(None, RESIDUES):
        raise _Unfit(f"{chr(other[0])!r} in its translation is no residue")
    if len(protein) not in (place.codons - 1, place.codons):
        raise _Unfit(f"its translation has {len(protein):,} residues, and its location {place.codons:,} codons")
    partial = PARTIAL[place.open_start or not protein.startswith(b"M"), place.open_end]
    return Gene(place.start, place.end, cds.strand.encode(), b"gene", cds.genetic_code, partial, protein)


def _translation_of_file(cds: Cds) -> bytes:
    return cds.translation.upper().removesuffix("*").encode("ascii", "replace")


def _translate(bases: bytes, genetic_code: int) -> bytes:
    """Return the residues of a reading frame, with X for a codon with an ambiguous letter and * for a stop."""
    if len(bases) < CODON:
        return b""
    forward, _ = translate_everywhere(bases, genetic_code)
    return forward[::CODON].replace(b"\0", b"X")


def _around_origin(parts: list[tuple[int, int, int]], length: int) -> list[tuple[int, int, int]]:
    """Return the parts of a gene in order along the contig; those after the origin lie beyond the contig's length.

    A gene spans the origin if its parts touch both ends of the contig. The origin is then behind the longest gap.

    Examples:
        >>> _around_origin([(0, 20, 2), (990, 1000, 0)], 1000)
        [(990, 1000, 0), (1000, 1020, 2)]
    """
    if len(parts) == 1 or parts[0][0] != 0 or parts[-1][1] != length:
        return parts
    gaps = [after[0] - before[1] for before, after in pairwise(parts)]
    first = 1 + gaps.index(max(gaps))
    return [*parts[first:], *((start + length, end + length, phase) for start, end, phase in parts[:first])]
