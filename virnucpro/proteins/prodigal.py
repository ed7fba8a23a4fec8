"""Genes of contigs in a FASTA file of Prodigal's proteins: >CONTIG_NUMBER # START # END # STRAND # ...partial=00..."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from virnucpro.data.fasta import locate, read_records
from virnucpro.data.records import PARTIAL, Record, read_proteins
from virnucpro.errors import UserError

_HEADER = re.compile(r"(\S+)_[0-9]+ # ([0-9]{1,12}) # ([0-9]{1,12}) # (-?1) # .*\bpartial=([01]{2})\b")
_GENETIC_CODE = re.compile(r"\b(?:genetic_code|transl_table)=([0-9]+)")
_DEFAULT_CODE = 11  # of bacteria, archaea and most viruses
_HINT = "give the file as Prodigal wrote it, or embed its proteins without calls: --no-call"


class Place(NamedTuple):
    """Columns of the table of proteins that a header gives."""

    contig: bytes
    start: int
    end: int
    strand: bytes
    kind: bytes
    genetic_code: int
    partial: bytes


def read_genes(fasta: Path) -> Iterator[tuple[Place, Record]]:
    """Yield the place and the protein of each gene. Genes of a contig are neighbors, in the order of their starts.

    Raises:
        UserError: A header is not Prodigal's, the genes have another order, or a letter is no residue.
    """
    contigs: set[bytes] = set()
    contig, start = b"", 0
    records = zip(read_records(fasta), read_proteins(fasta), strict=True)
    for number, ((name, description, _), protein) in enumerate(records):
        place = read_place(f"{name} {description}")
        if not place:
            raise UserError(f"{locate(fasta, number)}: {name} has no header of Prodigal, unlike the first one; {_HINT}")
        if place.start < start if place.contig == contig else place.contig in contigs:
            raise UserError(f"{locate(fasta, number)}: {name} is not beside its neighbors on the contig; {_HINT}")
        contig, start = place.contig, place.start
        contigs.add(contig)
        yield place, protein


def read_place(header: str) -> Place | None:
    """Return the place in a header, or None if the header is not Prodigal's.

    Examples:
        >>> read_place("k141_7_12 # 340 # 1020 # -1 # ID=1_12;partial=10;start_type=Edge")
        Place(contig=b'k141_7', start=339, end=1020, strand=b'-', kind=b'gene', genetic_code=11, partial=b'end')
    """
    found = _HEADER.match(header)
    if not found or not 0 < int(found[2]) < int(found[3]):
        return None
    contig, start, end, strand, ends = found.groups()
    left, right = (end_is_missing == "1" for end_is_missing in ends)
    forward = strand == "1"
    code = _GENETIC_CODE.search(header)
    return Place(
        contig=contig.encode(),
        start=int(start) - 1,
        end=int(end),
        strand=b"+" if forward else b"-",
        kind=b"gene",
        genetic_code=int(code[1]) if code else _DEFAULT_CODE,
        partial=PARTIAL[(left, right) if forward else (right, left)],
    )
