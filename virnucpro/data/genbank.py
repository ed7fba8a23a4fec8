"""GenBank files, plain or compressed."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

from Bio import BiopythonParserWarning
from Bio.GenBank.Scanner import GenBankScanner
from Bio.SeqRecord import SeqRecord

from virnucpro.data.fasta import open_text
from virnucpro.errors import UserError


def read_genbank(path: Path, features: bool = True) -> Iterator[SeqRecord]:
    """Yield the records of a file; without `features` it takes a fraction of the time.

    Raises:
        UserError: The file cannot be read, or it has no record.
    """
    is_empty = True
    try:
        with open_text(path) as file:
            lines = _with_origin(file)
            handle = SimpleNamespace(readline=lambda: next(lines, ""))  # all that the scanner uses of a file
            records = GenBankScanner().parse_records(handle, do_features=features)
            while record := _strictly_next(records):
                yield record
                is_empty = False
    except Exception as error:  # Biopython and the modules that decompress raise many exceptions
        raise UserError(f"{path}: cannot be read as GenBank to its end: {' '.join(str(error).split())}") from None
    if is_empty:
        raise UserError(f"{path}: not GenBank: no line begins with LOCUS; rename it with the suffix of its format")


def has_sequence(record: SeqRecord) -> bool:
    """Return whether the bases of a record are in its file, not only their number."""
    return bool(record.seq is not None and len(record) and record.seq.defined)


def record_name(record: SeqRecord) -> str:
    """Return the id of a record: its accession with version, or LOCUS if it has none."""
    return str(record.id).strip(".") or str(record.name)  # some programs write VERSION without a version


def _with_origin(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines, and ORIGIN before the end of a record after its features: Biopython expects a section there."""
    keyword = ""
    for line in lines:
        if line.startswith("//") and keyword == "FEATURES":
            yield "ORIGIN\n"
        if line[:1].isalpha():
            keyword = line.split()[0]
        yield line


def _strictly_next(records: Iterator[SeqRecord]) -> SeqRecord | None:
    """Return the next record, or None at the end.

    Biopython's warning of a truncated sequence becomes an error. Others, of long names and the like, are ignored.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BiopythonParserWarning)
        warnings.filterwarnings("error", "Premature end of file", BiopythonParserWarning)
        return next(records, None)
