"""FASTA files, plain or compressed, and the sequences in GenBank and GFF3 files."""

import lzma
import os
import sys
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import IO

from virnucpro.data.files import refuse_pipe
from virnucpro.errors import UserError

BEGINNING = 100_000  # characters, up to the end of a line

_ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
# Modules that decompress, by a file's first bytes: its name may be wrong. pzstd begins with a frame to skip.
_MODULES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "lzma",
    b"\x28\xb5\x2f\xfd": _ZSTD,
    b"\x50\x2a\x4d\x18": _ZSTD,
}
_ZIP = "PK\3\4"
# First words of the formats with genes besides sequences, and their names.
_ANNOTATED = {"LOCUS ": "GenBank", "##gff-version": "GFF3"}
_BESIDE = "give the contigs as FASTA, and this file with --genes"
_FASTA_OF_GFF3 = "##FASTA"  # line before the sequences
_NO_HEADER = "something stands before '>', a space perhaps; a header begins its line"


def read_fasta(path: str | os.PathLike[str], beginning: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (id, sequence) for every record, as `read_records` does."""
    return ((name, sequence) for name, _, sequence in read_records(path, beginning))


def read_records(path: str | os.PathLike[str], beginning: bool = False) -> Iterator[tuple[str, str, str]]:
    r"""Yield (id, description, sequence) for every record, in file order.

    The id is the first word of the header, and the description is the rest of it. The file may be plain text, gzip,
    bzip2, xz or zstd, with any line ends and any wrapping. With `beginning`, only the first 100 kB or so are read, and
    the last record may be incomplete.

    GFF3 with `##FASTA` and GenBank are read too. The description of a circular record of GenBank is
    `topology=circular`. The beginning of GenBank has no records.

    Raises:
        UserError: The file is missing, empty, damaged or in another format, or a record has no unique id.

    Examples:
        >>> _ = Path("contigs.fna").write_text(">c1 circular=true\nACGT\nAC\n>c2\nGG\n")
        >>> list(read_records("contigs.fna"))
        [('c1', 'circular=true', 'ACGTAC'), ('c2', '', 'GG')]
    """
    path = Path(path)
    seen: set[str] = set()
    for header, sequence in _records(path, beginning, sequence_format(path)):
        name, *description = header.split(None, 1) or [""]
        check_id(path, name, seen)
        if ">" in sequence:
            raise UserError(f"{locate(path, len(seen) - 1, '>')}: {_NO_HEADER}")
        yield name, "".join(description), sequence


def check_id(path: Path, name: str, seen: set[str]) -> None:
    """Add the id of a record to those before it; raise a UserError if it is among them, or not printable."""
    # The formats that the id is written to later would cut or refuse NUL and the like.
    if not name.isprintable() or not name or "\ufffd" in name:
        what = f"the id {name!r}, which holds unprintable characters" if name else "no id after '>'"
        raise UserError(f"{locate(path, len(seen))}: the record has {what}; give it a plain one")
    if name in seen:
        raise UserError(f"{locate(path, len(seen))}: two records are named {name}; make ids unique")
    seen.add(name)


def check_fasta(path: Path) -> None:
    """Check that a file is FASTA, by its first line; raise a UserError if it is not."""
    if (found := sequence_format(path)) != "FASTA":
        raise UserError(f"{path}: {found}, not FASTA; give the sequences as FASTA")


def sequence_format(path: Path) -> str:
    """Return the format of a file by its first line with text: FASTA, GenBank or GFF3.

    Raises:
        UserError: There is no such line, or the file is in another format.
    """
    number, first = first_line(path)
    if first.startswith(">"):
        return "FASTA"  # its id is checked when the records are read
    for word, name in _ANNOTATED.items():
        if first.startswith(word):
            return name
    if first.lstrip().startswith(">"):
        raise UserError(f"{path}: line {number}: {_NO_HEADER}")
    if first.startswith(_ZIP):
        raise UserError(f"{path}: a zip archive; unzip it and give the FASTA file that was in it")
    if not first.strip().replace("\t", " ").isprintable() or "\ufffd" in first[:2]:
        raise UserError(f"{path}: a binary file; FASTA is text, plain or compressed by gzip, bzip2, xz or zstd")
    if first.startswith("@"):
        raise UserError(f"{path}: FASTQ, not FASTA; assemble or convert it first, for instance with seqtk seq -A")
    raise UserError(f"{path}: not FASTA: it starts with {first.strip()[:20]!r}, not with '>'")


def first_line(path: Path) -> tuple[int, str]:
    """Return the first line with text, and its number from 1.

    Raises:
        UserError: The file is missing, a pipe, empty, or damaged in this line.
    """
    refuse_pipe(path)
    try:
        with open_text(path) as handle:
            lines = ((number, line) for number, line in enumerate(handle, start=1) if line.strip())
            number, first = next(lines, (0, ""))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder, not a FASTA file") from None
    except damage() as error:
        raise unreadable(path, error) from None
    if not first:
        raise UserError(f"{path}: the file is empty")
    return number, first


def locate(path: Path, record: int, letter: str | None = None) -> str:
    """Return 'FILE: line N' for the header of a record (counted from 0), or for the first such letter in it.

    The file is read again: line numbers are computed only for error messages. In GenBank it is the line of LOCUS.
    """
    number, headers = 0, -1
    is_genbank = sequence_format(path) == "GenBank"
    with open_text(path) as handle:
        for number, line in enumerate(handle, start=1):  # noqa: B007 (the last number is used)
            is_header = line.startswith("LOCUS " if is_genbank else ">")
            headers += is_header
            if headers == record and (letter is None or is_genbank or (not is_header and letter in line)):
                break
    return f"{path}: line {number}"


def _records(path: Path, beginning: bool, kind: str) -> Iterator[tuple[str, str]]:
    from Bio.SeqIO.FastaIO import SimpleFastaParser  # loaded here: `virnucpro --help` does not need it

    if kind == "GenBank":
        yield from () if beginning else _of_genbank(path)
        return
    try:
        with open_text(path) as handle:
            if kind == "GFF3" and not any(line.startswith(_FASTA_OF_GFF3) for line in handle):
                raise UserError(
                    f"{path}: GFF3 without sequences; give the contigs as FASTA, and this file with --genes"
                )
            yield from SimpleFastaParser(iter(handle.readlines(BEGINNING)) if beginning else handle)
    except damage() as error:
        raise unreadable(path, error) from None


def _of_genbank(path: Path) -> Iterator[tuple[str, str]]:
    from virnucpro.data.genbank import has_sequence, read_genbank, record_name  # loaded here: they use this module

    for record in read_genbank(path, features=False):
        name = record_name(record)
        if not has_sequence(record):
            raise UserError(f"{path}: record {name} has no sequence; {_BESIDE}")
        yield name + " topology=circular" * (record.annotations.get("topology") == "circular"), str(record.seq)


def damage() -> tuple[type[Exception], ...]:
    """Return the exceptions that the modules raise for a damaged file."""
    zstd = sys.modules.get(_ZSTD)  # loaded only if a file needs it
    return (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, *([zstd.ZstdError] if zstd else []))


def unreadable(path: Path, error: Exception) -> UserError:
    """Return the error for a file that is damaged, or that the system does not let read."""
    reason = getattr(error, "strerror", None)
    return UserError(f"{path}: cannot be read{f': {reason}' if reason else f' to its end: {error}'}")


def is_compressed(path: Path) -> bool:
    """Return whether a file is compressed, by its first bytes."""
    return _module(path) != "builtins"


def _module(path: Path) -> str:
    """Return the name of the module whose `open` reads a file."""
    with path.open("rb") as raw:
        magic = raw.read(max(map(len, _MODULES)))
    return next((module for known, module in _MODULES.items() if magic.startswith(known)), "builtins")


def open_text(path: Path) -> IO[str]:
    """Open a file as text, plain or compressed."""
    # Old headers may hold Latin-1; only the id matters, and it is checked. Windows may put a byte order mark first.
    text: IO[str] = import_module(_module(path)).open(path, "rt", encoding="utf-8-sig", errors="replace")
    return text
