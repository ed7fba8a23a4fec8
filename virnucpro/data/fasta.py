"""FASTA files, plain or gzipped."""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from Bio.SeqIO.FastaIO import SimpleFastaParser

from virnucpro.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"


def open_text(path: str | os.PathLike[str]) -> IO[str]:
    """Open a text file for reading, through gzip where its first bytes say so; any line ends."""
    with Path(path).open("rb") as raw:
        compressed = raw.read(2) == GZIP_MAGIC
    return gzip.open(path, "rt", encoding="utf-8") if compressed else Path(path).open(encoding="utf-8")


def read_fasta(path: str | os.PathLike[str], may_be_empty: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (id, sequence) for every record, in file order; the id is the first word of the header.

    Raises:
        UserError: the file is missing, empty (unless it may be), damaged or not FASTA, or a record has no id or not
            one of its own.
    """
    path = Path(path)
    seen: set[str] = set()
    try:
        with open_text(path) as handle:
            first = handle.readline()
            while first and not first.strip():
                first = handle.readline()
            if not first:
                if not may_be_empty:
                    raise UserError(f"{path}: the file is empty")
                return
            if not first.startswith(">"):
                raise UserError(f"{path}: not FASTA: it starts with {first[:20].strip()!r} instead of '>'")
            handle.seek(0)
            for header, sequence in SimpleFastaParser(handle):  # type: ignore[no-untyped-call]
                name = header.split(None, 1)[0] if header.strip() else ""
                if not name:
                    raise UserError(f"{path}: record {len(seen) + 1} has no id after '>'; give every record one")
                if name in seen:
                    raise UserError(f"{path}: two records are named {name!r}; ids must be unique within a file")
                seen.add(name)
                yield name, sequence
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not FASTA: it is not a text file") from None
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise UserError(f"{path}: cannot be read to its end: {error}") from None
