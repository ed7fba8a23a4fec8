"""The viral regions of contigs for other programs: a table, GFF3, BED, FASTA and GenBank."""

import gzip
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from virnucpro.calling.gene_files import encode
from virnucpro.calling.regions import Region
from virnucpro.data.records import Record

LINE = 60

# The Sequence Ontology's names.
_TYPES = {"provirus": "proviral_region", "whole": "viral_sequence"}


class RegionWriter:
    """Writes regions, contig by contig, into files of the names of `virnucpro.calling.REGION_FILES`.

    Args:
        stack: closes the files.
        paths: of the files, in the order of the names.
        proteins_faa: open for reading, as prepare wrote it.
    """

    def __init__(self, stack: ExitStack, paths: Sequence[Path], proteins_faa: BinaryIO) -> None:
        tsv, gff3, bed, fasta, genbank = paths
        self._proteins_faa = proteins_faa
        self._tsv, self._gff3, self._bed, self._genbank = (
            stack.enter_context(path.open("w", encoding="utf-8")) for path in (tsv, gff3, bed, genbank)
        )
        packed = stack.enter_context(fasta.open("wb"))
        # Without a name and a time in its header: the same calls are the same bytes.
        self._fasta = stack.enter_context(gzip.GzipFile("", "wb", fileobj=packed, mtime=0))
        self._tsv.write("contig\tstart\tend\tgenes\tscore\tkind\n")
        self._gff3.write("##gff-version 3\n")

    def write(self, contig: Record, regions: Sequence[Region], genes: Sequence[Any]) -> None:
        """Write the regions of a contig.

        Args:
            contig: in the order of the input.
            regions: from its beginning to its end.
            genes: rows of genes.tsv with `residues` and `offset` of proteins.tsv, their columns as attributes: those of
                this contig.
        """
        if regions:
            self._gff3.write(f"##sequence-region {encode(contig.name.decode())} 1 {len(contig.letters)}\n")
        for region in regions:
            start, end, score = region.start, region.end, f"{region.score:.4f}"
            self._tsv.write(f"{region.contig}\t{start + 1}\t{end}\t{region.genes}\t{score}\t{region.kind}\n")
            place = f"{encode(region.contig)}\tvirnucpro\t{_TYPES[region.kind]}\t{start + 1}\t{end}\t{score}\t.\t."
            self._gff3.write(f"{place}\tID={encode(region.name)};genes={region.genes};kind={region.kind}\n")
            name = region.name.replace("\t", " ")
            self._bed.write(f"{region.contig}\t{start}\t{end}\t{name}\t{round(1000 * region.score)}\t.\n")
            letters = contig.letters[start:end]
            self._fasta.write(b">%b score=%b\n" % (region.name.encode(), score.encode()))
            for begin in range(0, len(letters), LINE):
                self._fasta.write(letters[begin : begin + LINE] + b"\n")
            inside = [gene for gene in genes if start <= gene.start and (gene.end <= end or region.kind == "whole")]
            self._write_genbank(contig, region, inside)

    def _write_genbank(self, contig: Record, region: Region, genes: Iterable[Any]) -> None:
        from Bio import SeqIO  # here: it takes a while, and most contigs hold no virus
        from Bio.Seq import Seq
        from Bio.SeqRecord import SeqRecord

        is_circle = contig.circular and region.kind == "whole"
        record = SeqRecord(
            Seq(contig.letters[region.start : region.end]),
            id=region.name,
            name=region.name,
            description=f"viral region by virnucpro, score {region.score:.4f}",
            annotations={
                "molecule_type": "DNA",
                "topology": "circular" if is_circle else "linear",
                "data_file_division": "PHG",
            },
        )
        record.features = [self._feature(gene, region, len(record)) for gene in genes]
        with warnings.catch_warnings(action="ignore"):  # of names that are longer than the format foresaw
            SeqIO.write(record, self._genbank, "genbank")

    def _feature(self, gene: Any, region: Region, length: int) -> Any:
        from Bio.SeqFeature import AfterPosition, BeforePosition, CompoundLocation, SeqFeature, SimpleLocation

        strand = 1 if gene.strand == "+" else -1
        start, end = gene.start - region.start, gene.end - region.start
        open_left = gene.partial == "both" or gene.partial == ("start" if strand == 1 else "end")
        open_right = gene.partial == "both" or gene.partial == ("end" if strand == 1 else "start")
        if end > length:  # across the origin of a circular contig
            parts = [SimpleLocation(start, length, strand), SimpleLocation(0, end - length, strand)]
            location: Any = CompoundLocation(parts[::strand])
        else:
            first = BeforePosition(start) if open_left else start
            last = AfterPosition(end) if open_right else end
            location = SimpleLocation(first, last, strand)
        self._proteins_faa.seek(gene.offset)
        qualifiers = {
            "locus_tag": [gene.protein],
            "note": [f"virnucpro score {gene.score:.4f}, log-odds {gene.log_odds:.3f}"],
            "codon_start": [1],
            "transl_table": [gene.genetic_code],
            "translation": [self._proteins_faa.read(gene.residues).decode()],
        }
        if gene.kind != "gene":
            del qualifiers["codon_start"], qualifiers["transl_table"], qualifiers["translation"]
        return SeqFeature(location, type="CDS" if gene.kind == "gene" else "misc_feature", qualifiers=qualifiers)
