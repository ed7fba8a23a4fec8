"""Records of stages: settings, and digests of the files that a stage read and wrote.

A record is one JSON file. Snakemake decides what to rerun. A stage uses records to check that its input is complete.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from virnucpro.data.files import file_digest, remove_leftovers, write_text
from virnucpro.errors import UserError


@dataclass(frozen=True)
class Provenance:
    """Record of a stage."""

    stage: str  # name of the stage
    settings: Mapping[str, Any]  # arguments that change its output
    inputs: Mapping[str, str]  # SHA-256 of its input files, keyed by their role, e.g. `fasta`
    outputs: Mapping[str, str]  # SHA-256 of its output files, keyed by their names
    details: Mapping[str, Any]  # counts, times and devices, for people and for later stages
    key: str  # key of the job in the workflow, a digest of everything that changes its output


def begin_writing(record: Path, outputs: Iterable[Path]) -> None:
    """Delete the old record of a stage, and temporary files that killed runs left beside its outputs."""
    for path in (record, *outputs):
        remove_leftovers(path)
    record.unlink(missing_ok=True)


def write_provenance(
    record: Path,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    outputs: Iterable[Path],
    details: Mapping[str, Any] | None = None,
    key: str = "",
) -> None:
    """Write the record of a stage, after its outputs are complete.

    The arguments are as in `Provenance`, with JSON values. The names of `outputs` are distinct.
    """
    digests = {output.name: file_digest(output) for output in outputs}
    content = json.loads(json.dumps(asdict(Provenance(stage, settings, inputs, digests, details or {}, key))))
    write_text(record, json.dumps({"sha256": _digest(content)} | content, indent=1) + "\n")


def read_provenance(record: Path, stage: str) -> Provenance:
    """Read the record of a stage.

    Raises:
        UserError: The record is missing or damaged.
    """
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        if content.pop("sha256") != _digest(content) or content["stage"] != stage:
            raise ValueError("it is not as it was written")
        return Provenance(**content)
    except FileNotFoundError:
        raise UserError(f"{record}: no such file; run {stage.replace('_', '-')} again") from None
    except OSError as error:
        raise UserError(f"{record}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{record}: damaged ({error}); delete it and run again") from None


def checked_input(path: Path, record: Path, stage: str) -> str:
    """Return the SHA-256 of a file, after checking it against the record of the stage that wrote it.

    Raises:
        UserError: The stage has not finished, or the file is missing or not what the stage wrote.
    """
    command = stage.replace("_", "-")
    expected = read_provenance(record, stage).outputs.get(path.name)
    if expected is None:
        raise UserError(f"{path}: {command} did not write it, by {record}; run {command} again")
    if not path.exists():
        raise UserError(f"{path}: no such file; run {command} again: the workflow does if you delete {record}")
    if file_digest(path) != expected:
        # HDF5 changes a file as long as a program has it open for writing.
        cure = "close it in other programs, or delete it," if path.suffix == ".h5" else "delete it"
        raise UserError(f"{path}: not what {command} wrote: damaged or replaced; {cure} and run again")
    return expected


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's content, in hex; it detects changes by hand."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
