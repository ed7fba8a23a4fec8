"""The table of a sample's proteins: prepare writes it, and all that follows reads it; nobody takes an id apart.

protein       its id, opaque and unique in the sample
contig        the contig it lies on; empty for the proteins of a FASTA file
start, end    of its codons on the contig, from 0, half-open, whichever the strand; with the stop codon that ends a gene
              or an orf. Where a gene of a circular contig spans the origin, end lies beyond the contig's length
strand        + or -; . for the proteins of a FASTA file
kind          frame: open all through a chunk; gene: found by pyrodigal-gv; orf: open reading frame between two stops;
              protein: of a FASTA file
genetic_code  NCBI's number of the translation table; 0 for the proteins of a FASTA file
residues      how many it has
partial       where it goes on beyond what was translated: no, start, end or both
group         number of the group of frames that are linked: those of neighbouring chunks in one phase; each gene, each
              orf and each protein of a FASTA file is a group of its own
chunk         number of the frame's chunk in its contig, from 1; 0 for what does not lie in a chunk
offset        byte of proteins.faa, beside the table, at which its residues begin; they take one line
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from virnucpro.data.arrays import Integers
from virnucpro.data.tables import read_table

_HEAD = b"protein\tcontig\tstart\tend\tstrand\tkind\tgenetic_code\tresidues\tpartial\tgroup\tchunk\toffset\n"
_ROW = b"%b\t%b\t%d\t%d\t%b\t%b\t%d\t%d\t%b\t%d\t%d\t%d\n"


class ProteinWriter:
    """Writes proteins.faa and the table of the proteins in it, both open for writing, at their beginning."""

    def __init__(self, proteins_faa: BinaryIO, table: BinaryIO) -> None:
        self._proteins_faa, self._table = proteins_faa, table
        self._offset = 0  # bytes of proteins.faa that are written
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
        """Write a protein; the columns of its row are as the table has them."""
        self._proteins_faa.write(b">%b\n%b\n" % (name, residues))
        offset = self._offset + len(name) + 2
        place = (name, contig, start, end, strand, kind, genetic_code, len(residues), partial, group, chunk, offset)
        self._table.write(_ROW % place)
        self._offset = offset + len(residues) + 1


def read_proteins(prepared: Path, *columns: str) -> pd.DataFrame:
    """Read the table of a sample's proteins, a row each, in the order of the input; all columns if none is named."""
    table = read_table(prepared / "proteins.tsv", "protein", "contig", "strand", "kind", "partial")
    return table[list(columns)] if columns else table


def first_rows(contigs: "pd.Series[str]") -> Integers:
    """Return the number of the first row of each contig, int64 [contigs], of a table sorted by contigs."""
    return np.flatnonzero(contigs != contigs.shift())


def spans_of(contigs: "pd.Series[str]") -> dict[str, tuple[int, int]]:
    """Return the first row of each contig and the one behind its last, of a table sorted by contigs."""
    firsts = first_rows(contigs)
    ends = np.append(firsts, len(contigs))[1:]
    return dict(zip(contigs.iloc[firsts], zip(firsts.tolist(), ends.tolist(), strict=True), strict=True))
