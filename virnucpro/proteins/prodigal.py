"""Positions of genes in the headers of Prodigal's proteins: >CONTIG_NUMBER # START # END # STRAND # ...partial=00..."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from virnucpro.data.annotation import DEFAULT_CODE, GENETIC_CODE_OF
from virnucpro.data.fasta import read_records
from virnucpro.proteins.genes import PARTIAL

_HEADER = re.compile(r"(\S+)_[0-9]+ # ([0-9]{1,12}) # ([0-9]{1,12}) # (-?1) # .*\bpartial=([01])([01])\b")


class Place(NamedTuple):
    """Columns of the table of proteins that a header gives."""

    contig: bytes
    start: int
    end: int
    strand: bytes
    kind: bytes
    genetic_code: int
    partial: bytes


def read_places(fasta: Path) -> Iterator[Place] | None:
    """Return the place of each protein, or None if a header is not Prodigal's, or contigs are not in one block each."""
    contigs, last = set(), b""
    for place in _places(fasta):
        if place is None or (place.contig != last and place.contig in contigs):
            return None
        contigs.add(last := place.contig)
    return (place for place in _places(fasta) if place)


def _places(fasta: Path) -> Iterator[Place | None]:
    for name, description, _ in read_records(fasta):
        yield read_place(f"{name} {description}")


def read_place(header: str) -> Place | None:
    """Return the place in a header, or None if the header is not Prodigal's.

    Examples:
        >>> read_place("k141_7_12 # 340 # 1020 # -1 # ID=1_12;partial=10;start_type=Edge")
        Place(contig=b'k141_7', start=339, end=1020, strand=b'-', kind=b'gene', genetic_code=11, partial=b'end')
    """
    found = _HEADER.match(header)
    if not found:
        return None
    contig, start, end, strand, left, right = found.groups()
    forward = strand == "1"
    missing = (left == "1", right == "1")[:: 1 if forward else -1]
    code = GENETIC_CODE_OF.search(header)
    return Place(
        contig=contig.encode(),
        start=int(start) - 1,
        end=int(end),
        strand=b"+" if forward else b"-",
        kind=b"gene",
        genetic_code=int(code[1]) if code else DEFAULT_CODE,
        partial=PARTIAL[missing[0], missing[1]],
    )
