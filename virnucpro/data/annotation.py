"""Coding sequences (CDS) in files of genes: GFF3 and GenBank, plain or compressed.

GFF3: https://github.com/The-Sequence-Ontology/Specifications/blob/master/gff3.md. GenBank: the INSDC feature table,
https://www.insdc.org/submitting-standards/feature-table.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from Bio.SeqFeature import AfterPosition, BeforePosition, SeqFeature

from virnucpro.data.fasta import damage, first_line, open_text, unreadable
from virnucpro.data.genbank import read_genbank, record_name
from virnucpro.errors import UserError

DEFAULT_CODE = 11  # bacteria, archaea and most viruses; Prodigal's default
BEGINNING = 1_000  # lines
COLUMNS = 9

_NAMES = ("locus_tag", "ID", "protein_id", "Parent")  # the first of these names a gene in messages
_READ = {*_NAMES, "partial", "start_range", "end_range", "pseudo", "pseudogene", "transl_table", "translation"}

_TYPES = ("CDS", "gene", "pseudogene")
_NO_GFF3 = (
    "not GFF3, which has nine columns separated by tabs, and whole numbers for start, end, phase and transl_table"
)

GENETIC_CODE_OF = re.compile(r"transl_table=([0-9]+)")
_PRODIGAL_PARTIAL = re.compile("[01]{2}")  # left and right end of the gene


class Cds(NamedTuple):
    """A coding sequence, as a file describes it.

    Attributes:
        name: Its locus_tag or ID, for messages.
        contigs: Names that its contig may have in FASTA, most likely first.
        parts: Start, end and phase of its parts on the contig, sorted; from 0, half-open. A gene with introns has
            several. The phase is the number of bases before the first whole codon of a part.
        strand: + or -, or . if it has none or two.
        genetic_code: NCBI's number of the translation table.
        open_left, open_right: Whether the file says that the gene continues beyond its lowest or highest base.
        is_pseudo: Whether the file marks it as a pseudogene.
        translation: Its protein in the file, or empty.
    """

    name: str
    contigs: tuple[str, ...]
    parts: list[tuple[int, int, int]]
    strand: str
    genetic_code: int
    open_left: bool
    open_right: bool
    is_pseudo: bool
    translation: str


class _Line(NamedTuple):
    """A CDS line of GFF3."""

    contig: str
    start: int
    end: int
    strand: str
    phase: int
    genetic_code: int
    attributes: dict[str, str]


def read_cds(path: Path, beginning: bool = False) -> Iterator[Cds]:
    """Yield the coding sequences of a GFF3 or GenBank file.

    With `beginning`, only the first 1,000 lines of GFF3 are read, and nothing of GenBank but its first line.

    Raises:
        UserError: The file is missing, damaged, or neither GFF3 nor GenBank.
    """
    _, first = first_line(path)
    if first.startswith(">"):
        raise UserError(f"{path}: FASTA, not GFF3 or GenBank; give the file with the genes' positions")
    if first.startswith("LOCUS "):
        return iter(()) if beginning else _of_genbank(path)
    return _of_gff3(path, beginning)


def _of_gff3(path: Path, beginning: bool) -> Iterator[Cds]:
    """Yield the coding sequences of GFF3.

    Lines with one ID are parts of one sequence. Lines with one parent are too, if each has another ID or none, and the
    parent is not a gene: gene finders for eukaryotes write so.
    """
    lines: list[_Line] = []
    is_pseudo: dict[str, bool] = {}  # by the id of a gene
    for kind, line in _lines(path, beginning):
        if kind == "CDS":
            lines.append(line)
        else:
            is_pseudo[line.attributes.get("ID", "")] = kind == "pseudogene" or _is_pseudo(line.attributes)
    uses = Counter(line.attributes.get("ID") for line in lines)
    joined: dict[tuple[str, ...], list[_Line]] = defaultdict(list)
    for number, line in enumerate(lines):
        name = line.attributes.get("ID", "")
        parents = line.attributes.get("Parent", "").split(",")
        if any(is_pseudo.get(parent) for parent in parents):
            line.attributes["pseudo"] = "true"
        others = [parent for parent in parents if parent and parent not in is_pseudo]  # transcripts
        keys = [("ID", name)] if name and (uses[name] > 1 or not others) else [("Parent", one) for one in others]
        for key in keys or [("line", str(number))]:
            joined[(line.contig, *key)].append(line)
    yield from map(_join, joined.values())


def _lines(path: Path, beginning: bool) -> Iterator[tuple[str, _Line]]:
    """Yield the type and the line of each gene and CDS; Prodigal names the genetic code in a comment."""
    genetic_code = str(DEFAULT_CODE)
    try:
        with open_text(path) as file:
            for number, text in enumerate(islice(file, BEGINNING if beginning else None), start=1):
                if text.startswith(("##FASTA", ">")):
                    return
                if text.startswith("#"):
                    found = GENETIC_CODE_OF.search(text)
                    genetic_code = found[1] if found else genetic_code
                elif text.strip():
                    columns = text.rstrip("\n").split("\t")
                    if len(columns) != COLUMNS:
                        raise UserError(f"{path}: line {number}: {_NO_GFF3}")
                    if columns[2] in _TYPES:
                        yield columns[2], _read_line(f"{path}: line {number}", columns, genetic_code)
    except damage() as error:
        raise unreadable(path, error) from None


def _read_line(place: str, columns: list[str], genetic_code: str) -> _Line:
    contig, _, _, start, end, _, strand, phase, text = columns
    pairs = [pair.strip().partition("=") for pair in text.split(";") if pair.strip(" .")]
    if not all(equals for _, equals, _ in pairs):
        raise UserError(f"{place}: attributes are not KEY=VALUE, as in GFF3; convert GTF with gffread first")
    attributes = {key: value if key == "Parent" else unquote(value) for key, _, value in pairs if key in _READ}
    code = attributes.get("transl_table", genetic_code)
    try:
        return _Line(
            unquote(contig), int(start) - 1, int(end), strand, int(phase.replace(".", "0")), int(code), attributes
        )
    except ValueError:
        raise UserError(f"{place}: {_NO_GFF3}") from None


def _join(lines: list[_Line]) -> Cds:
    """Return the coding sequence of one or more lines."""
    lines.sort(key=lambda line: line.start)
    strands = {line.strand for line in lines}
    left, right = lines[0].attributes, lines[-1].attributes
    prodigal = _PRODIGAL_PARTIAL.fullmatch(left.get("partial", ""))
    is_open = [end == "1" for end in prodigal[0]] if prodigal else [False, False]
    return Cds(
        name=_name(left),
        contigs=(lines[0].contig,),
        parts=[(line.start, line.end, line.phase) for line in lines],
        strand=next((strand for strand in "+-" if strands == {strand}), "."),
        genetic_code=lines[0].genetic_code,
        open_left=is_open[0] or "." in left.get("start_range", "").split(","),
        open_right=is_open[1] or "." in right.get("end_range", "").split(","),
        is_pseudo=any(_is_pseudo(line.attributes) for line in lines),
        translation=left.get("translation", ""),
    )


def _of_genbank(path: Path) -> Iterator[Cds]:
    for record in read_genbank(path):
        accessions: Any = record.annotations.get("accessions", [])
        names = tuple(dict.fromkeys([record_name(record), record.name, *accessions]))
        for feature in record.features:
            if feature.type == "CDS":
                try:
                    yield _of_feature(names, feature)
                except ValueError:
                    place = f"{path}: {record_name(record)}: CDS {feature.location}"
                    raise UserError(f"{place}: codon_start and transl_table must be whole numbers") from None


def _of_feature(contigs: tuple[str, ...], feature: SeqFeature) -> Cds:
    attributes = {key: values[0] for key, values in feature.qualifiers.items()}
    location = feature.location  # None if Biopython cannot read it
    # A comparison with None: the truth of a location is its length, which may not fit an integer.
    parts = [] if location is None else [part for part in location.parts if part.ref is None]
    phase, code = int(attributes.get("codon_start", 1)) - 1, int(attributes.get("transl_table", DEFAULT_CODE))
    strand = location.strand if location is not None and len(parts) == len(location.parts) else 0
    return Cds(
        name=_name(attributes),
        contigs=contigs,
        parts=sorted((int(part.start), int(part.end), phase) for part in parts),
        strand={1: "+", -1: "-"}.get(strand or 0, "."),
        genetic_code=code,
        open_left=any(isinstance(part.start, BeforePosition) for part in parts),
        open_right=any(isinstance(part.end, AfterPosition) for part in parts),
        is_pseudo=_is_pseudo(attributes),
        translation=attributes.get("translation", ""),
    )


def _name(attributes: Mapping[str, str]) -> str:
    return next((attributes[key] for key in _NAMES if key in attributes), "")


def _is_pseudo(attributes: Mapping[str, str]) -> bool:
    return "pseudogene" in attributes or attributes.get("pseudo", "false").lower() != "false"
