"""FASTA files, plain or compressed."""

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from virnucpro.errors import UserError

BEGINNING = 100_000  # characters, up to the end of a line

# By the first bytes: a file's name may lie.
_OPENERS: dict[bytes, Callable[..., IO[str]]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_DAMAGE = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


def read_fasta(
    path: str | os.PathLike[str], may_be_empty: bool = False, beginning: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield (id, sequence) for every record, in file order; the id is the first word of the header.

    Plain text, gzip, bzip2 or xz, with any line ends and any wrapping.

    Args:
        path: the file.
        may_be_empty: whether a file without records is one.
        beginning: whether to read the first lines alone, 100 kB or so, whose last record may lack its end.

    Raises:
        UserError: the file is missing, empty (unless it may be), damaged or not FASTA, or a record has no id or not
            one of its own.
    """
    path = Path(path)
    check_fasta(path, may_be_empty)
    seen: set[str] = set()
    records = _records(path, beginning)
    while record := _next(records, path):
        header, sequence = record
        name = header.split(None, 1)[0] if header.strip() else ""
        # NUL and the like would be cut or refused by the formats that the id is written to later.
        if not name.isprintable() or not name or "\ufffd" in name:
            what = f"the id {name!r}, which holds unprintable characters" if name else "no id after '>'"
            raise UserError(f"{locate(path, len(seen))}: the record has {what}; give it a plain one")
        if name in seen:
            raise UserError(f"{locate(path, len(seen))}: two records are named {name}; make ids unique")
        seen.add(name)
        yield name, sequence


def check_fasta(path: Path, may_be_empty: bool = False) -> None:
    """Look at a file's beginning.

    Raises:
        UserError: the file is missing, empty (unless it may be), damaged in its first line, or not FASTA.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: a folder, not a FASTA file")
    try:
        with _open_text(path) as handle:
            first = next((line for line in handle if line.strip()), "")
    except _DAMAGE as error:
        raise UserError(f"{path}: cannot be read to its end: {error}") from None
    if not first:
        if not may_be_empty:
            raise UserError(f"{path}: the file is empty")
    elif not first.strip().replace("\t", " ").isprintable() or "\ufffd" in first[:2]:
        raise UserError(f"{path}: a binary file, not FASTA")
    elif first.startswith("@"):
        raise UserError(f"{path}: FASTQ, not FASTA; assemble or convert it first, for instance with seqtk seq -A")
    elif not first.startswith(">"):
        raise UserError(f"{path}: not FASTA: it starts with {first.strip()[:20]!r}, not with '>'")


def locate(path: Path, record: int, letter: str | None = None) -> str:
    """Return 'FILE: line N', of the header of a record (counted from 0) or of the first such letter in it.

    Reads the file again, so that nobody pays for line numbers but who needs one.
    """
    number, headers = 0, -1
    with _open_text(path) as handle:
        for number, line in enumerate(handle, start=1):  # noqa: B007 (the last number is wanted)
            headers += line.startswith(">")
            if headers == record and (letter is None or (not line.startswith(">") and letter in line)):
                break
    return f"{path}: line {number}"


def _records(path: Path, beginning: bool) -> Iterator[tuple[str, str]]:
    from Bio.SeqIO.FastaIO import SimpleFastaParser  # here, since `virnucpro --help` can do without

    with _open_text(path) as handle:
        lines = iter(handle.readlines(BEGINNING)) if beginning else handle
        yield from SimpleFastaParser(lines)  # type: ignore[no-untyped-call]


def _next(records: Iterator[tuple[str, str]], path: Path) -> tuple[str, str] | None:
    try:
        return next(records, None)
    except _DAMAGE as error:
        raise UserError(f"{path}: cannot be read to its end: {error}") from None


def is_compressed(path: Path) -> bool:
    """Return whether a file is compressed, by its first bytes."""
    return _opener(path) is not open


def _opener(path: Path) -> Callable[..., IO[str]]:
    with path.open("rb") as raw:
        magic = raw.read(max(map(len, _OPENERS)))
    return next((opener for known, opener in _OPENERS.items() if magic.startswith(known)), open)


def _open_text(path: Path) -> IO[str]:
    # Old headers may hold Latin-1; only the id matters, and it is checked. Windows may put a mark before the first.
    return _opener(path)(path, "rt", encoding="utf-8-sig", errors="replace")
