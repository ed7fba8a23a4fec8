"""Where files come from: beside its outputs every stage leaves a record of its settings and of all files' digests.

The records of a folder are one JSON file, by the names of the stages, of which no two write at once.

A file is stale where the record of the stage that made it names other settings or inputs than there are now. It is
damaged where it is no longer what that record says. Content decides; time stamps only save reading a file again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from virnucpro.data.files import file_digest, remove_leftovers, write_text
from virnucpro.errors import UserError

RECORDS = "provenance.json"  # of a folder: what wrote the files in it and below
VERSION = 1  # to be raised when stages write something else than before for the same inputs and settings

_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class FileState:
    """A file as it was: what is in it, SHA-256 in hex, and what tells without reading that it is still the same."""

    sha256: str
    size: int
    mtime_ns: int
    ctime_ns: int

    def holds(self, path: Path) -> bool:
        """Return whether a file is there and has the same content."""
        if not path.is_file():
            return False
        status = path.stat()
        if (status.st_size, status.st_mtime_ns, status.st_ctime_ns) == (self.size, self.mtime_ns, self.ctime_ns):
            return True
        return status.st_size == self.size and file_digest(path) == self.sha256


def file_state(path: Path, sha256: str | None = None) -> FileState:
    """Return the present state of a file.

    Args:
        path: the file.
        sha256: its digest, where it is known.

    Raises:
        UserError: it cannot be read.
    """
    sha256 = sha256 or file_digest(path)
    status = path.stat()
    return FileState(sha256, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True)
class Provenance:
    """What a stage ran with and what it made.

    Attributes:
        stage: its name.
        settings: those of its arguments that decide what it writes.
        inputs: the files it read, by what they are to the stage.
        outputs: the files it wrote, by their paths from the folder of the records.
        details: for people, and for later stages: counts, times, devices.
        version: of what stages write, `VERSION`.
    """

    stage: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, FileState]
    outputs: Mapping[str, FileState]
    details: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION


def begin_writing(records: Path, stage: str, outputs: Iterable[Path]) -> None:
    """Delete the record of a stage that is about to write, and what killed runs of it left beside its outputs.

    What the record says of the outputs will be true no more.

    Args:
        records: JSON file with it.
        stage: its name.
        outputs: the files that the stage writes.
    """
    for path in (records, *outputs):
        remove_leftovers(path)
    delete_record(records, stage)


def delete_record(records: Path, stage: str) -> None:
    """Delete the record of a stage, if there is one."""
    kept = _readable(records)
    if kept.pop(stage, None) is not None:
        _write(records, kept)


def delete_outputs(records: Path, stage: str, names: Iterable[str]) -> None:
    """Delete what a stage wrote, which lies beside its record, and the record."""
    delete_record(records, stage)
    for name in names:
        records.with_name(name).unlink(missing_ok=True)


def _readable(records: Path) -> dict[str, Any]:
    """Return what a file of records holds; nothing where it is missing or damaged, which is as if no stage had run."""
    try:
        found = json.loads(records.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(records: Path, content: Mapping[str, Any]) -> None:
    write_text(records, json.dumps(content, indent=1) + "\n")


def write_provenance(
    records: Path,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, FileState],
    outputs: Iterable[Path],
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write the record of a stage, when its outputs are in place.

    Args:
        records: JSON file to write it into; the outputs lie in its folder or below.
        stage: its name.
        settings: as `Provenance`; values as JSON has them.
        inputs: as `Provenance`.
        outputs: the files that the stage wrote.
        details: as `Provenance`.
    """
    states = {os.path.relpath(output, records.parent): file_state(output) for output in outputs}
    record = json.loads(json.dumps(asdict(Provenance(stage, settings, inputs, states, details or {}))))
    _write(records, _readable(records) | {stage: {"sha256": _digest(record)} | record})


def read_provenance(records: Path, stage: str) -> Provenance:
    """Read the record of a stage.

    Args:
        records: JSON file with it.
        stage: its name.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        content = json.loads(records.read_text(encoding="utf-8"))
        if stage not in content:
            raise FileNotFoundError
        return _parse(content[stage])
    except FileNotFoundError:
        raise UserError(f"{records}: {stage.replace('_', '-')} has not finished; run it again") from None
    except _DAMAGE as error:
        raise UserError(f"{records}: damaged ({error}); delete it and run again") from None


def intact_records(records: Path) -> dict[str, Provenance]:
    """Return the records that a file holds, by the names of their stages, without those that are damaged."""
    found = {}
    for stage, record in _readable(records).items():
        with suppress(*_DAMAGE):
            found[stage] = _parse(record)
    return found


def _parse(record: Any) -> Provenance:
    content = {name: value for name, value in record.items() if name != "sha256"}
    if record["sha256"] != _digest(content):
        raise ValueError("not as it was written")
    states = {
        part: {name: FileState(**state) for name, state in content[part].items()} for part in ("inputs", "outputs")
    }
    return Provenance(**(content | states))


def _digest(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a record says, in hex: what was changed in it by hand is damage."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def checked_input(path: Path, records: Path, stage: str) -> FileState:
    """Return the state of a file, which must be what another stage wrote.

    Args:
        path: the file.
        records: JSON file with the record of that stage.
        stage: its name.

    Raises:
        UserError: that stage has not finished, or the file is missing or no longer what it wrote.
    """
    command = stage.replace("_", "-")
    expected = read_provenance(records, stage).outputs.get(os.path.relpath(path, records.parent))
    if expected is None:
        raise UserError(f"{path}: not among what {command} wrote, by {records}; run {command} again")
    if not path.exists():
        raise UserError(f"{path}: no such file; run {command} again")
    state = file_state(path)
    if state.sha256 != expected.sha256:
        raise UserError(f"{path}: not what {command} wrote: damaged or replaced; delete it and run again")
    return state
