"""The table of a sample's proteins. Stage prepare writes it; later stages read it, and never parse an id.

- `protein`: Id, unique in the sample.
- `contig`: Contig of the protein; empty for a protein of a FASTA file. A protein with a header of Prodigal is a gene.
- `start`, `end`: Position on the contig, from 0, half-open, on either strand. The stop codon of a gene or orf is
  included. A gene that spans the origin of a circular contig ends beyond the contig's length.
- `strand`: One of + and -, or . for a protein of a FASTA file.
- `kind`: `frame` (open in a whole chunk), `gene` (of pyrodigal-gv or a file), `orf` (open reading frame between two
  stops) or `protein` (of a FASTA file).
- `genetic_code`: NCBI's number of the translation table; 0 for a protein of a FASTA file.
- `residues`: Number of residues.
- `partial`: Ends at which the protein continues beyond the translated part: no, start, end or both.
- `group`: Number of the frame's group of linked frames, see `link_frames`. Every gene, orf and protein of a FASTA file
  has its own group.
- `chunk`: Number of the frame's chunk in its contig, from 1; 0 for other proteins.
- `offset`: Byte at which its residues begin in proteins.faa, beside the table. They take one line.
"""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from virnucpro.data.arrays import Integers
from virnucpro.data.tables import read_table

_HEAD = b"protein\tcontig\tstart\tend\tstrand\tkind\tgenetic_code\tresidues\tpartial\tgroup\tchunk\toffset\n"
_ROW = b"%b\t%b\t%d\t%d\t%b\t%b\t%d\t%d\t%b\t%d\t%d\t%d\n"


class ProteinWriter:
    """Writes proteins.faa and its table to two files that are open for writing."""

    def __init__(self, proteins_faa: BinaryIO, table: BinaryIO) -> None:
        self._proteins_faa, self._table = proteins_faa, table
        self._offset = 0  # bytes written to proteins.faa
        table.write(_HEAD)

    def write(
        self,
        name: bytes,
        residues: bytes,
        *,
        contig: bytes = b"",
        start: int = 0,
        end: int = 0,
        strand: bytes = b".",
        kind: bytes = b"protein",
        genetic_code: int = 0,
        partial: bytes = b"no",
        group: int,
        chunk: int = 0,
    ) -> None:
        """Write a protein; the arguments are columns of the table."""
        self._proteins_faa.write(b">%b\n%b\n" % (name, residues))
        offset = self._offset + len(name) + 2
        place = (name, contig, start, end, strand, kind, genetic_code, len(residues), partial, group, chunk, offset)
        self._table.write(_ROW % place)
        self._offset = offset + len(residues) + 1


def read_proteins(prepared: Path, *columns: str) -> pd.DataFrame:
    """Read the table of a sample's proteins, one row each, in the order of the input; by default all columns."""
    text = ("protein", "contig", "strand", "kind", "partial")
    return read_table(prepared / "proteins.tsv", *text, columns=columns)


def read_residues(proteins_faa: Path, proteins: pd.DataFrame) -> list[bytes]:
    """Return the residues of proteins, whose `offset` and `residues` are columns of their table."""
    with proteins_faa.open("rb") as file:
        return [
            os.pread(file.fileno(), residues, offset)
            for offset, residues in proteins[["offset", "residues"]].itertuples(index=False)
        ]


def first_rows(contigs: "pd.Series[str]") -> Integers:
    """Return the first row of each contig, int64 [contigs], in a table sorted by contigs."""
    return np.flatnonzero(contigs != contigs.shift())


def blocks_of_contigs(contigs: "pd.Series[str]", size: int) -> list[Integers]:
    """Return the rows of whole contigs in blocks of about `size` rows, from a table sorted by contigs."""
    firsts = first_rows(contigs)
    return np.split(np.arange(len(contigs)), firsts[1:][np.diff(firsts // size) > 0])


def spans_of(contigs: "pd.Series[str]") -> dict[str, tuple[int, int]]:
    """Return the half-open range of rows of each contig in a table sorted by contigs."""
    firsts = first_rows(contigs)
    ends = np.append(firsts, len(contigs))[1:]
    return dict(zip(contigs.iloc[firsts], zip(firsts.tolist(), ends.tolist(), strict=True), strict=True))
