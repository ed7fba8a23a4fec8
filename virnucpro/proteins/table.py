"""The table of a sample's proteins: prepare writes it, and all that follows reads it; nobody takes an id apart.

protein       its id, opaque and unique in the sample
contig        the contig it lies on; empty for the proteins of a FASTA file
start, end    of its codons on the contig, from 0, half-open, whichever the strand
strand        + or -; . for the proteins of a FASTA file
kind          frame, gene or protein
genetic_code  NCBI's number of the translation table; 0 for the proteins of a FASTA file
residues      how many it has
partial       where it goes on beyond what was translated: no, start, end or both
group         number of the group of frames that are linked: those of neighbouring chunks in one phase; each gene and
              each protein of a FASTA file is a group of its own
chunk         number of the frame's chunk in its contig, from 1; 0 for what does not lie in a chunk
offset        byte of proteins.faa, beside the table, at which its residues begin; they take one line
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from virnucpro.data.tables import read_table

HEAD = b"protein\tcontig\tstart\tend\tstrand\tkind\tgenetic_code\tresidues\tpartial\tgroup\tchunk\toffset\n"
_ROW = b"%b\t%b\t%d\t%d\t%b\t%b\t%d\t%d\t%b\t%d\t%d\t%d\n"


class Row(NamedTuple):
    """A row of the table."""

    protein: bytes
    contig: bytes
    start: int
    end: int
    strand: bytes
    kind: bytes
    genetic_code: int
    residues: int
    partial: bytes
    group: int
    chunk: int
    offset: int

    def line(self) -> bytes:
        """Return the row as a line of the table."""
        return _ROW % self


def read_proteins(prepared: Path, *columns: str) -> pd.DataFrame:
    """Read the table of a sample's proteins, a row each, in the order of the input.

    Args:
        prepared: the folder that prepare wrote.
        columns: those wanted; all if none is named.
    """
    table = read_table(prepared / "proteins.tsv", "protein", "contig", "strand", "kind", "partial")
    return table[list(columns)] if columns else table
