"""Contigs and proteins of a FASTA file, checked and in upper case."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from virnucpro.data.fasta import check_fasta, check_id, locate, read_fasta, read_records
from virnucpro.data.repeats import direct_terminal_repeat
from virnucpro.errors import UserError

NUCLEOTIDES = b"ACGTUNRYSWKMBDHV"  # IUPAC
AMINO_ACIDS = b"ACDEFGHIKLMNPQRSTVWY"
RESIDUES = AMINO_ACIDS + b"XUOBZ"  # letters with a token in ESM-2
# Ends at which a protein continues beyond its letters, by whether its start and its end are missing.
PARTIAL = {(False, False): b"no", (True, False): b"start", (False, True): b"end", (True, True): b"both"}
_UNKNOWN = bytes.maketrans(b"J*", b"XX")  # leucine or isoleucine, and a stop inside a protein
_GAPS = b"-."
# Marks of a circular contig. In the description: Unicycler, Autocycler, Plassembler, metaMDBG and dragonflye, Canu,
# NCBI, Raven, MEGAHIT. In the id: myloasm, metaviralSPAdes, hifiasm and miniasm (ptg000001c, s1.ctg000001c).
_CIRCULAR = re.compile(
    r"(?<![\w-])(circular=(true|yes|y)|suggestCircular=yes|topology=circular|XO:i:1|flag=3 multi=[\d.]+)\b",
    re.IGNORECASE,
)
_CIRCULAR_ID = re.compile(r"_circular-yes(_|$)|_type_circular$|(^|[.])[a-z]tg[0-9]{6,}c$")
_TRIM = re.compile(r"(?<![\w-])trim=(\d+)-(\d+)\b")  # part of a circle without its repeat, by Canu: from 0, half-open


class Record(NamedTuple):
    """A contig or a protein: its id and its letters."""

    name: bytes
    letters: bytes
    odd: int = 0  # letters of a protein other than the 20 amino acids
    circular: bool = False  # whether the header, or Flye's table, says that the contig is circular
    repeat: int = 0  # bases at the end of a circular contig that repeat its beginning; `letters` is without them
    unknown: int = 0  # bases of a contig without a sequence, which has no letters

    @property
    def length(self) -> int:
        """Number of bases or residues."""
        return len(self.letters) or self.unknown


def flye_table(fasta: Path) -> Path | None:
    """Return the table beside Flye's assembly.fasta that says which contigs are circular; None if there is none."""
    table = fasta.parent / "assembly_info.txt"
    return table if fasta.name.startswith("assembly.fasta") and table.is_file() else None


def _circles_of_flye(table: Path) -> set[str]:
    """Return the names of the circular contigs in Flye's table: seq_name, length, cov., circ. and more columns."""
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8", errors="replace").splitlines()]
    return {name for name, _, _, circular, *_ in (row for row in rows if len(row) > 3) if circular in ("Y", "+")}


def read_contigs(fasta: Path, beginning: bool = False) -> Iterator[Record]:
    """Yield the contigs of a file as upper-case DNA, in file order; U becomes T.

    Assemblers may write the beginning of a circular contig again at its end. This repeat is cut off.

    Raises:
        UserError: The file cannot be read as FASTA of nucleotides with unique ids.
    """
    table = flye_table(fasta)
    circles = _circles_of_flye(table) if table else set()
    for number, (name, description, sequence) in enumerate(read_records(fasta, beginning=beginning)):
        letters = sequence.encode("ascii", "replace").upper()
        if odd := letters.translate(None, NUCLEOTIDES):
            hint = "; a table of samples says type proteins for proteins" if odd[:1] in RESIDUES else ""
            raise _no_letter_of(fasta, number, name, sequence, odd, "IUPAC nucleotide", hint)
        circular = bool(name in circles or _CIRCULAR.search(description) or _CIRCULAR_ID.search(name))
        letters = letters.replace(b"U", b"T")
        repeat = _repeat_of_circle(letters, description) if circular else 0
        yield Record(name.encode(), letters[: len(letters) - repeat], circular=circular, repeat=repeat)


def read_contigs_without_sequence(genbank: Path) -> Iterator[Record]:
    """Yield the contigs of a GenBank file without sequences; none if its first record has a sequence.

    Raises:
        UserError: The file cannot be read, ids are not unique, or only some of its records have a sequence.
    """
    from virnucpro.data.genbank import has_sequence, read_genbank, record_name  # loaded here: it loads Biopython

    seen: set[str] = set()
    for record in read_genbank(genbank, features=False):
        name = record_name(record)
        if has_sequence(record):
            if not seen:
                return
            raise UserError(f"{genbank}: record {name} has a sequence, unlike the first one; split the file in two")
        check_id(genbank, name, seen)
        is_circular = record.annotations.get("topology") == "circular"
        yield Record(name.encode(), b"", circular=is_circular, unknown=len(record))


def _repeat_of_circle(letters: bytes, description: str) -> int:
    """Return the bases at the end of a circle that repeat its beginning: by Canu's header, or a direct repeat."""
    trim = _TRIM.search(description)
    start, end = map(int, trim.groups()) if trim else (0, 0)
    is_valid = start < end <= len(letters)
    return len(letters) - (end - start) if is_valid else direct_terminal_repeat(letters)


def read_proteins(fasta: Path, beginning: bool = False) -> Iterator[Record]:
    """Yield the proteins of a file in the letters of ESM-2, in file order.

    Letters become upper case. J and a stop inside the protein become X. Gaps and a stop at the end are removed. U, O, B
    and Z are kept: ESM-2 has tokens for them.

    Raises:
        UserError: The file cannot be read as FASTA of proteins with unique ids, or looks like nucleotides.
    """
    check_fasta(fasta)
    _refuse_nucleotides(fasta)
    for number, (name, sequence) in enumerate(read_fasta(fasta, beginning=beginning)):
        letters, residues = _residues(sequence)
        if odd := residues.translate(None, RESIDUES):
            raise _no_letter_of(fasta, number, name, sequence, odd, "amino acid")
        yield Record(name.encode(), residues, len(letters.translate(None, AMINO_ACIDS)))


def clean_protein(name: str, sequence: str) -> bytes:
    """Return a protein in the letters of ESM-2, as `read_proteins` does; other letters are a UserError."""
    _, residues = _residues(sequence)
    if odd := residues.translate(None, RESIDUES):
        raise UserError(f"{name}: {chr(odd[0])!r} is no amino acid code")
    return residues


def clean_contig(name: str, sequence: str) -> str:
    """Return the letters of a contig in memory without spaces and line ends; a wrong letter is a UserError."""
    letters = "".join(sequence.split())
    if odd := letters.encode("ascii", "replace").upper().translate(None, NUCLEOTIDES):
        raise UserError(f"{name}: {chr(odd[0])!r} is no IUPAC nucleotide code")
    return letters


def records_in_memory(given: Mapping[Any, Any] | Iterable[Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (id, description, sequence) as `read_records` does, for the forms that `virnucpro.embed_proteins` takes.

    Only records of Biopython have a description. It says whether a record of GenBank is circular.
    """
    for number, one in enumerate(given.items() if isinstance(given, Mapping) else given):
        if isinstance(one, (tuple, list)) and len(one) == 2:
            yield _text(one[0]), "", _text(one[1])
        elif hasattr(one, "seq"):  # a record of Biopython
            circular = " topology=circular" * (one.annotations.get("topology") == "circular")
            yield _text(one.id), one.description + circular, _text(one.seq)
        else:
            yield str(number), "", _text(one)


def _text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, (bytes, bytearray)) else str(value)


def _residues(sequence: str) -> tuple[bytes, bytes]:
    """Return a protein in upper case, before and after letters are replaced."""
    letters = sequence.encode("ascii", "replace").upper()
    return letters, letters.translate(None, _GAPS).removesuffix(b"*").translate(_UNKNOWN)


READERS = {"contigs": read_contigs, "proteins": read_proteins}  # by the type of a sample


def _refuse_nucleotides(fasta: Path) -> None:
    """Raise a UserError if over nine tenths of the letters at a file's beginning are A, C, G and T or U.

    N is not counted: it is asparagine in proteins. All four must occur, in 50 letters or more, because some proteins
    have few kinds of residues.
    """
    beginning = "".join(sequence for _, sequence in read_fasta(fasta, beginning=True)).upper().replace("U", "T")
    letters = beginning.encode("ascii", "replace").translate(None, b"N*" + _GAPS)
    others = letters.translate(None, b"ACGT")
    if len(letters) >= 50 and len(others) < len(letters) / 10 and set(b"ACGT") <= set(letters):
        raise UserError(f"{fasta}: looks like nucleotides; its type is contigs, not proteins")


def _no_letter_of(
    fasta: Path, number: int, name: str, sequence: str, odd: bytes, kind: str, hint: str = ""
) -> UserError:
    """Return the error for a record with a letter that is not allowed, as written in the file."""
    letter = next(c for c in sequence if c.encode("ascii", "replace").upper() == odd[:1])
    return UserError(f"{locate(fasta, number, letter)}: {letter!r} in {name} is no {kind} code{hint}")
