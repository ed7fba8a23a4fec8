"""FASTA files, plain or compressed."""

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
_NO_HEADER = "something stands before '>', a space perhaps; a header begins its line"


def read_fasta(path: str | os.PathLike[str], beginning: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (id, sequence) for every record, as `read_records` does."""
    return ((name, sequence) for name, _, sequence in read_records(path, beginning))


def read_records(path: str | os.PathLike[str], beginning: bool = False) -> Iterator[tuple[str, str, str]]:
    r"""Yield (id, description, sequence) for every record, in file order.

    The id is the first word of the header, and the description is the rest of it. The file may be plain text, gzip,
    bzip2, xz or zstd, with any line ends and any wrapping. With `beginning`, only the first 100 kB or so are read, and
    the last record may be incomplete.

    Raises:
        UserError: The file is missing, empty, damaged or not FASTA, or a record has no unique id.

    Examples:
        >>> _ = Path("contigs.fna").write_text(">c1 circular=true\nACGT\nAC\n>c2\nGG\n")
        >>> list(read_records("contigs.fna"))
        [('c1', 'circular=true', 'ACGTAC'), ('c2', '', 'GG')]
    """
    path = Path(path)
    check_fasta(path)
    seen: set[str] = set()
    for header, sequence in _records(path, beginning):
        name, *description = header.split(None, 1) or [""]
        # The formats that the id is written to later would cut or refuse NUL and the like.
        if not name.isprintable() or not name or "\ufffd" in name:
            what = f"the id {name!r}, which holds unprintable characters" if name else "no id after '>'"
            raise UserError(f"{locate(path, len(seen))}: the record has {what}; give it a plain one")
        if name in seen:
            raise UserError(f"{locate(path, len(seen))}: two records are named {name}; make ids unique")
        if ">" in sequence:
            raise UserError(f"{locate(path, len(seen), '>')}: {_NO_HEADER}")
        seen.add(name)
        yield name, "".join(description), sequence


def check_fasta(path: Path) -> None:
    """Check the first line of a file that has text.

    Raises:
        UserError: The file is missing, a pipe, empty, damaged in its first line, or not FASTA.
    """
    refuse_pipe(path)
    try:
        with _open_text(path) as handle:
            lines = ((number, line) for number, line in enumerate(handle, start=1) if line.strip())
            number, first = next(lines, (0, ""))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder, not a FASTA file") from None
    except _damage() as error:
        raise UserError(f"{path}: cannot be read to its end: {error}") from None
    if not first:
        raise UserError(f"{path}: the file is empty")
    if first.startswith(">"):
        return  # its id is checked when the records are read
    if first.lstrip().startswith(">"):
        raise UserError(f"{path}: line {number}: {_NO_HEADER}")
    if first.startswith(_ZIP):
        raise UserError(f"{path}: a zip archive; unzip it and give the FASTA file that was in it")
    if not first.strip().replace("\t", " ").isprintable() or "\ufffd" in first[:2]:
        raise UserError(f"{path}: a binary file; FASTA is text, plain or compressed by gzip, bzip2, xz or zstd")
    if first.startswith("@"):
        raise UserError(f"{path}: FASTQ, not FASTA; assemble or convert it first, for instance with seqtk seq -A")
    raise UserError(f"{path}: not FASTA: it starts with {first.strip()[:20]!r}, not with '>'")


def locate(path: Path, record: int, letter: str | None = None) -> str:
    """Return 'FILE: line N' for the header of a record (counted from 0), or for the first such letter in it.

    The file is read again: line numbers are computed only for error messages.
    """
    number, headers = 0, -1
    with _open_text(path) as handle:
        for number, line in enumerate(handle, start=1):  # noqa: B007 (the last number is used)
            headers += line.startswith(">")
            if headers == record and (letter is None or (not line.startswith(">") and letter in line)):
                break
    return f"{path}: line {number}"


def _records(path: Path, beginning: bool) -> Iterator[tuple[str, str]]:
    from Bio.SeqIO.FastaIO import SimpleFastaParser  # loaded here: `virnucpro --help` does not need it

    try:
        with _open_text(path) as handle:
            yield from SimpleFastaParser(iter(handle.readlines(BEGINNING)) if beginning else handle)
    except _damage() as error:
        raise UserError(f"{path}: cannot be read to its end: {error}") from None


def _damage() -> tuple[type[Exception], ...]:
    """Return the exceptions that the modules raise for a damaged file."""
    zstd = sys.modules.get(_ZSTD)  # loaded only if a file needs it
    return (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, *([zstd.ZstdError] if zstd else []))


def is_compressed(path: Path) -> bool:
    """Return whether a file is compressed, by its first bytes."""
    return _module(path) != "builtins"


def _module(path: Path) -> str:
    """Return the name of the module whose `open` reads a file."""
    with path.open("rb") as raw:
        magic = raw.read(max(map(len, _MODULES)))
    return next((module for known, module in _MODULES.items() if magic.startswith(known)), "builtins")


def _open_text(path: Path) -> IO[str]:
    # Old headers may hold Latin-1; only the id matters, and it is checked. Windows may put a byte order mark first.
    text: IO[str] = import_module(_module(path)).open(path, "rt", encoding="utf-8-sig", errors="replace")
    return text
