"""The proteins of contigs with their scores, for other programs: FASTA and GFF3.

The table of them is by pandas: genes.tsv. FASTA headers have the positions of that table, GFF3 counts from 1.
"""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO
from urllib.parse import quote

from virnucpro.data.records import Record

# By the kind of a protein: what found it, the Sequence Ontology's name of it, and its phase, which a CDS must have.
_FEATURES = {
    "gene": ("pyrodigal-gv\tCDS", "0"),
    "orf": ("virnucpro\tORF", "."),
    "frame": ("virnucpro\treading_frame", "."),
}


class ScoredProteins:
    """Writes genes.faa and genes.gff3, contig by contig.

    Args:
        proteins_faa: open for reading, as prepare wrote it.
        genes_faa, genes_gff3: both open for writing, at their beginning.
    """

    def __init__(self, proteins_faa: BinaryIO, genes_faa: BinaryIO, genes_gff3: BinaryIO) -> None:
        self._residues: Iterator[bytes] = (next(proteins_faa) for _ in proteins_faa)  # every second line
        self._faa, self._gff3 = genes_faa, genes_gff3
        genes_gff3.write(b"##gff-version 3\n")

    def write(self, contig: Record, rows: Iterable[Any]) -> None:
        """Write the proteins of a contig.

        Args:
            contig: in the order of the input.
            rows: of genes.tsv, with their columns as attributes: those of this contig, of each protein that there is.
        """
        sequence = encode(contig.name.decode())
        if contig.letters:
            self._gff3.write(f"##sequence-region {sequence} 1 {len(contig.letters)}\n".encode())
        if contig.circular:
            region = f"{sequence}\tvirnucpro\tregion\t1\t{len(contig.letters)}\t.\t.\t.\tIs_circular=true\n"
            self._gff3.write(region.encode())
        for row in rows:
            header = f">{row.protein} {row.contig}:{row.start}-{row.end}({row.strand}) score={row.score:.4f}\n"
            self._faa.write(header.encode() + next(self._residues))
            source, phase = _FEATURES[row.kind]
            place = f"{sequence}\t{source}\t{row.start + 1}\t{row.end}\t{row.score:.4f}\t{row.strand}\t{phase}"
            attributes = f"ID={encode(row.protein)};partial={row.partial};transl_table={row.genetic_code}"
            self._gff3.write(f"{place}\t{attributes};log_odds={row.log_odds:.3f}\n".encode())


def encode(name: str) -> str:
    """Return a name as GFF3 allows it in any column."""
    return quote(name, safe=".:^*$@!+_?-|")
