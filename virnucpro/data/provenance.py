"""Where files come from: beside its outputs every stage leaves a record of its settings and of all files' digests.

A file is stale where the record of the stage that made it names other settings or inputs than there are now. It is
damaged where it is no longer what that record says. Content decides; time stamps only save reading a file again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from virnucpro.data.files import file_digest, remove_leftovers, write_text
from virnucpro.errors import UserError

VERSION = 1  # to be raised when stages write something else than before for the same inputs and settings


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
        outputs: the files it wrote, by their paths from the folder of the record.
        details: for people, and for later stages: counts, times, devices.
        version: of what stages write, `VERSION`.
    """

    stage: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, FileState]
    outputs: Mapping[str, FileState]
    details: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION


def begin_writing(record: Path, outputs: Iterable[Path]) -> None:
    """Delete the record of a stage that is about to write, and what killed runs of it left beside its outputs.

    What the record says of the outputs will be true no more.

    Args:
        record: its path.
        outputs: the files that the stage writes.
    """
    for path in (record, *outputs):
        remove_leftovers(path)
    record.unlink(missing_ok=True)


def write_provenance(
    path: Path,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, FileState],
    outputs: Iterable[Path],
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write the record of a stage, when its outputs are in place.

    Args:
        path: of the record, JSON; the outputs lie in its folder or below.
        stage: its name.
        settings: as `Provenance`; values as JSON has them.
        inputs: as `Provenance`.
        outputs: the files that the stage wrote.
        details: as `Provenance`.
    """
    states = {os.path.relpath(output, path.parent): file_state(output) for output in outputs}
    record = json.loads(json.dumps(asdict(Provenance(stage, settings, inputs, states, details or {}))))
    write_text(path, json.dumps({"sha256": _digest(record)} | record, indent=1) + "\n")


def read_provenance(path: Path) -> Provenance:
    """Read the record of a stage.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("sha256") != _digest(record):
            raise ValueError("not as it was written")
        states = {
            part: {name: FileState(**state) for name, state in record[part].items()} for part in ("inputs", "outputs")
        }
        return Provenance(**(record | states))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: the stage that writes it has not finished; run it again") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it and run again") from None


def _digest(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a record says, in hex: what was changed in it by hand is damage."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def checked_input(path: Path, record: Path) -> FileState:
    """Return the state of a file, which must be what another stage wrote.

    Args:
        path: the file.
        record: of the stage that wrote it.

    Raises:
        UserError: that stage has not finished, or the file is missing or no longer what it wrote.
    """
    made = read_provenance(record)
    expected = made.outputs.get(os.path.relpath(path, record.parent))
    if expected is None:
        raise UserError(f"{path}: not among what {made.stage} wrote, by {record}; run {made.stage} again")
    if not path.exists():
        raise UserError(f"{path}: no such file; run {made.stage} again")
    state = file_state(path)
    if state.sha256 != expected.sha256:
        raise UserError(f"{path}: not what {made.stage} wrote: damaged or replaced; delete it and run again")
    return state
