"""Write calls, genes and viral regions: tables, and FASTA, GFF3, BED and GenBank for other programs.

Positions in these files are 1-based and inclusive, in BED 0-based and half-open.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import pandas as pd
from Bio.bgzf import BgzfWriter
from scipy.special import expit

from virnucpro.calling import PREDICTION_FILES, REGION_FILES
from virnucpro.calling.calls import SampleScores
from virnucpro.calling.published import write_chunks, write_predictions
from virnucpro.calling.regions import Region
from virnucpro.data.records import Record, read_contigs
from virnucpro.data.tables import write_table

Lengths = Iterable[tuple[str, int]]  # names of contigs, and their bases

LINE = 60
BLOCK = 1_000 * LINE  # letters written at once: the BGZF writer copies its uncompressed rest at each write
WIDTH = 80  # width of GenBank's lines
CODON = 3
UNKNOWN = b"N"  # letter of contigs whose sequences are not known
GENE_COLUMNS = [
    *("protein", "contig", "start", "end", "strand", "kind", "genetic_code", "partial", "score", "log_odds"),
    *("scored_by", "function", "function_score"),
]
CELLULAR = "cellular"  # function of genes of cells
# A provirus has the topology `provirus`, and an empty fdr because it is not known.
REGION_COLUMNS = ["name", "contig", "start", "end", "length", "topology", "genes", "score", "fdr", "border_evidence"]
# Name columns of regions and of contigs called viral, in the order of the tables.
NAME_COLUMNS = [
    *("hallmarks", "taxonomy", "taxon_rank", "taxon_score", "taxon_note", "taxon_length", "genome", "virus"),
    *("closest", "closest_name", "closest_share", "closest_identity", "why"),
]

GENE_FINDER = "pyrodigal-gv"
# Sequence Ontology type and phase (which a CDS must have), by the kind of a protein.
_FEATURES = {"gene": ("CDS", "0"), "orf": ("ORF", "."), "frame": ("reading_frame", ".")}
# Names that bedtools takes for a header or for the first bytes of a CRAM file.
_RESERVED = re.compile("track|browser|visibility|chrom$|cram", re.IGNORECASE)


def write_result_files(
    paths: Mapping[str, Path],
    fasta: Path | None,
    proteins_faa: Path,
    proteins: pd.DataFrame,
    scores: SampleScores,
    contigs: pd.DataFrame,
    regions: Mapping[str, Sequence[Region]],
    names: pd.DataFrame,
    gene_finder: str = GENE_FINDER,
) -> None:
    """Write `CALL_FILES` of a sample, and `PREDICTION_FILES` after a classifier of the original VirNucPro.

    Args:
        fasta: Contigs; None if only their genes are known. Then viral.fasta.gz and viral.gbk are empty.
        proteins_faa: Residues of the proteins, file of prepare.
        proteins: Table of proteins, with `scored_by`, `function` and `function_score`.
        contigs: Table of calls, one row per contig in the order of the input.
        regions: Regions, by the names of contigs.
        names: `NAME_COLUMNS`, `topology` and `fdr` of each region, by its name; text, empty if not known.
        gene_finder: Source of genes in genes.gff3.
    """
    scored = proteins.assign(score=expit(scores.log_odds).round(4), log_odds=scores.log_odds.round(3))
    write_table(scored.assign(start=scored["start"] + 1)[GENE_COLUMNS], paths["genes.tsv"])
    write_table(contigs, paths["contigs.tsv"])
    if scores.frames is not None and scores.chunks is not None:
        of_frames, of_chunks = (paths[name] for name in PREDICTION_FILES)
        write_predictions(of_frames, proteins["protein"], scores.frames)
        write_chunks(of_chunks, scores.chunks)
    rows = scored.itertuples(index=False)
    with ExitStack() as stack:
        in_order, for_regions = (stack.enter_context(proteins_faa.open("rb")) for _ in range(2))
        faa, gff3 = (stack.enter_context(paths[name].open("wb")) for name in ("genes.faa", "genes.gff3"))
        lengths = contigs[["contig", "length"]]
        of_regions = lengths[lengths["contig"].isin(regions)]
        gene_writer = GeneWriter(in_order, faa, gff3, lengths.itertuples(index=False), gene_finder)
        files = [paths[name] for name in REGION_FILES]
        region_writer = RegionWriter(stack, files, for_regions, names, of_regions.itertuples(index=False))
        unknown = (Record(name.encode(), UNKNOWN * length) for name, length in lengths.itertuples(index=False))
        records = read_contigs(fasta) if fasta else unknown
        for contig, count in zip(records, contigs["genes"].tolist(), strict=True):
            genes = list(islice(rows, count))
            gene_writer.write(contig, genes)
            region_writer.write(contig, regions.get(contig.name.decode(), []), genes)


def encode(name: str) -> str:
    """Encode a name for any column of GFF3, and so that bedtools takes no line for a header or a comment.

    Examples:
        >>> [encode(name) for name in ("k141_7", "a;b", "#1", "!1", "track_2")]
        ['k141_7', 'a%3Bb', '%231', '%211', '%74rack_2']
    """
    encoded = quote(name, safe=".:^*$@+_?-|")
    return f"%{ord(encoded[0]):X}{encoded[1:]}" if _RESERVED.match(encoded) else encoded


def _attribute(key: str, value: str) -> str:
    """Return an attribute of GFF3 after a semicolon, or empty text if the value is empty."""
    return f";{key}={quote(value, safe=' .:^*$@!+_?-|()[]/')}" if value else ""


def _product(gene: Any) -> str:
    """Return the viral function of a gene, or empty text."""
    return "" if gene.function == CELLULAR else str(gene.function)


def _header(lengths: Lengths) -> Iterator[str]:
    """Yield the first lines of GFF3; bedtools 2.30 refuses a file with such lines after its features."""
    yield "##gff-version 3\n"
    yield from (f"##sequence-region {encode(name)} 1 {length}\n" for name, length in lengths if length)


def _landmark(contig: Record) -> str:
    """Return the line of GFF3 that says that a contig is circular, or empty text."""
    place = f"{encode(contig.name.decode())}\tvirnucpro\tregion\t1\t{len(contig.letters)}"
    return f"{place}\t.\t.\t.\tIs_circular=true\n" if contig.circular and contig.letters else ""


def _organism(names: Mapping[str, str]) -> dict[str, Any]:
    """Return the annotations of a GenBank record from the names of a region."""
    taxa = [taxon for taxon in names["taxonomy"].split(";") if taxon]
    organism = f"unclassified {taxa[-1]}" if taxa else "viral metagenome"
    is_phage = not {"phage", "microvirus", "bacteria"}.isdisjoint(names["virus"].split())  # not a virophage
    division = "PHG" if is_phage else "VRL" if " of " in names["virus"] else "ENV"  # ENV: the host is not known
    return {"data_file_division": division, "source": organism, "organism": organism, "taxonomy": taxa}


class GeneWriter:
    """Writes genes.faa and genes.gff3, contig by contig, with residues from prepare's proteins.faa.

    `lengths` has the names and lengths of all contigs. `gene_finder` is the source of genes.
    """

    def __init__(
        self,
        proteins_faa: BinaryIO,
        genes_faa: BinaryIO,
        genes_gff3: BinaryIO,
        lengths: Lengths,
        gene_finder: str = GENE_FINDER,
    ) -> None:
        self._residues: Iterator[bytes] = (next(proteins_faa) for _ in proteins_faa)  # every second line
        self._faa, self._gff3, self._gene_finder = genes_faa, genes_gff3, gene_finder
        genes_gff3.writelines(map(str.encode, _header(lengths)))

    def write(self, contig: Record, rows: Iterable[Any]) -> None:
        """Write the proteins of the next contig of the input; rows have the columns of genes.tsv as attributes."""
        sequence = encode(contig.name.decode())
        self._gff3.write(_landmark(contig).encode())
        for row in rows:
            place = f"{row.contig}:{row.start + 1}-{row.end}({row.strand})"
            header = f">{row.protein} {place} score={row.score:.4f}\n"
            self._faa.write(header.encode() + next(self._residues))
            kind, phase = _FEATURES[row.kind]
            source = self._gene_finder if row.kind == "gene" else "virnucpro"
            place = f"{sequence}\t{source}\t{kind}\t{row.start + 1}\t{row.end}\t{row.score:.4f}\t{row.strand}\t{phase}"
            attributes = f"ID={encode(row.protein)};partial={row.partial};transl_table={row.genetic_code}"
            product = _attribute("product", _product(row))
            product += product and _attribute("function_score", row.function_score)
            by = f";log_odds={row.log_odds:.3f};scored_by={row.scored_by}"
            self._gff3.write(f"{place}\t{attributes}{by}{product}\n".encode())


class RegionWriter:
    """Writes regions, contig by contig, into `virnucpro.calling.REGION_FILES`, with paths in this order.

    The stack closes the files. Translations are from prepare's proteins.faa. `names` has `NAME_COLUMNS`, `topology` and
    `fdr` of each region, by its name. `lengths` has the names and lengths of contigs with regions.
    """

    def __init__(
        self, stack: ExitStack, paths: Sequence[Path], proteins_faa: BinaryIO, names: pd.DataFrame, lengths: Lengths
    ) -> None:
        tsv, gff3, bed, fasta, genbank = paths
        self._proteins_faa = proteins_faa
        self._names: dict[Any, dict[Any, str]] = names.to_dict("index")
        self._tsv, self._gff3, self._bed, self._genbank = (
            stack.enter_context(path.open("w", encoding="utf-8")) for path in (tsv, gff3, bed, genbank)
        )
        self._fasta = stack.enter_context(BgzfWriter(fasta))
        self._tsv.write("\t".join([*REGION_COLUMNS, *NAME_COLUMNS]) + "\n")
        self._gff3.writelines(_header(lengths))

    def write(self, contig: Record, regions: Sequence[Region], genes: Sequence[Any]) -> None:
        """Write the regions of the next contig of the input, in order along the contig.

        Its genes have the columns of genes.tsv, and `residues` and `offset` of proteins.tsv, as attributes.
        """
        length = len(contig.letters)
        if regions:
            self._gff3.write(_landmark(contig))
        for region in regions:
            start, end, score = region.start, region.end, f"{region.score:.4f}"
            names = self._names[region.name]
            columns = [region.name, region.contig, start + 1, end, end - start]
            evidence = [names["topology"], region.genes, score, names["fdr"], region.borders]
            values = [*columns, *evidence, *(names[column] for column in NAME_COLUMNS)]
            self._tsv.write("\t".join(map(str, values)) + "\n")
            feature = "proviral_region" if region.is_provirus else "viral_sequence"  # Sequence Ontology
            place = f"{encode(region.contig)}\tvirnucpro\t{feature}\t{start + 1}\t{end}\t{score}\t.\t."
            known = "".join(_attribute(key, names[key]) for key in ("taxonomy", "virus", "closest"))
            known += _attribute("border_evidence", region.borders)
            self._gff3.write(f"{place}\tID={encode(region.name)};genes={region.genes}{known}\n")
            parts = [(start, min(end, length)), (0, end - length)]  # BED has no circles
            for begin, stop in parts[: 1 + (end > length)]:
                place = f"{encode(region.contig)}\t{begin}\t{stop}"
                self._bed.write(f"{place}\t{region.name}\t{round(1000 * region.score)}\t.\n")
            letters = (contig.letters * 2)[start:end] if end > length else contig.letters[start:end]
            if not letters.strip(UNKNOWN):
                continue
            self._fasta.write(b">%b score=%b\n" % (region.name.encode(), score.encode()))
            for begin in range(0, len(letters), BLOCK):
                ends = range(begin, min(begin + BLOCK, len(letters)), LINE)
                self._fasta.write(b"".join(letters[at : at + LINE] + b"\n" for at in ends))
            self._write_genbank(contig, region, letters, genes)

    def _write_genbank(self, contig: Record, region: Region, letters: bytes, genes: Iterable[Any]) -> None:
        from Bio.Seq import Seq  # loaded here: it takes time, and most contigs have no virus
        from Bio.SeqIO.InsdcIO import GenBankWriter
        from Bio.SeqRecord import SeqRecord

        topology = "circular" if contig.circular and region.is_whole else "linear"
        # Without `accession` the writer would turn a name such as cov_9.05 into cov_9.5.
        fields: dict[str, Any] = {"molecule_type": "DNA", "topology": topology, "date": date.today()}
        record = SeqRecord(
            Seq(letters),
            id=region.name,
            name=region.name,
            description=f"viral region by virnucpro, score {region.score:.4f}",
            annotations=fields | {"accession": region.name} | _organism(self._names[region.name]),
        )
        for gene in sorted(genes, key=lambda gene: gene.start < region.start):  # genes after the origin last
            start = (gene.start - region.start) % len(contig.letters)
            end = start + gene.end - gene.start
            if end <= len(letters) or region.is_whole:
                record.features.append(self._feature(gene, start, end, len(letters)))
        writer = GenBankWriter(self._genbank)
        # A reader would add a space to a name that continues on the next line.
        tags = (len(feature.qualifiers["locus_tag"][0].replace('"', '""')) for feature in record.features)
        writer.MAX_WIDTH = max(WIDTH, writer.QUALIFIER_INDENT + len('/locus_tag=""') + max(tags, default=0))
        with warnings.catch_warnings(action="ignore"):  # names may be longer than the format allows
            writer.write_record(record)

    def _feature(self, gene: Any, start: int, end: int, length: int) -> Any:
        from Bio.SeqFeature import AfterPosition, BeforePosition, CompoundLocation, SeqFeature, SimpleLocation

        strand, offset = 1 if gene.strand == "+" else -1, 0
        if end > length:  # across the origin of a circular contig
            parts = [SimpleLocation(start, length, strand), SimpleLocation(0, end - length, strand)]
            location: Any = CompoundLocation(parts[::strand])
        else:
            left, right = ("start", "end")[::strand]
            # A truncated gene begins at the first letter of the record, or ends at the last one, as INSDC requires.
            first = BeforePosition(0 if start < CODON else start) if gene.partial in ("both", left) else start
            last = AfterPosition(length if length - end < CODON else end) if gene.partial in ("both", right) else end
            location = SimpleLocation(first, last, strand)
            offset = start - first if strand > 0 else last - end
        note = f"virnucpro score {gene.score:.4f}, log-odds {gene.log_odds:.3f}"
        qualifiers = {"locus_tag": [gene.protein], "note": [note]}
        if gene.kind != "gene":
            return SeqFeature(location, type="misc_feature", qualifiers=qualifiers)
        self._proteins_faa.seek(gene.offset)
        translation = self._proteins_faa.read(gene.residues).decode()
        qualifiers |= {"product": [_product(gene) or "hypothetical protein"], "codon_start": [1 + offset]}
        qualifiers |= {"transl_table": [gene.genetic_code], "translation": [translation]}
        return SeqFeature(location, type="CDS", qualifiers=qualifiers)
