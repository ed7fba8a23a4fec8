"""Files from outside a run: their digests, remembered so that no start reads a file twice."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from virnucpro.data.fasta import is_compressed
from virnucpro.data.files import file_digest, write_text
from virnucpro.errors import UserError

State = list[int]  # size, mtime and ctime: a file with the same is not read again
Known = tuple[State, str, bool]  # state, digest, and whether it is compressed


class OutsideFiles:
    """SHA-256 digests and sizes of files that users hand in.

    Args:
        memory: JSON file in which digests are remembered.
    """

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        self._known: dict[str, Known] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):  # a lost or damaged memory only costs time
            self._known = {path: (*known,) for path, known in json.loads(memory.read_text()).items()}
        self._is_new = False

    def look_at(self, path: str | Path, check: Callable[[], None] = lambda: None) -> None:
        """Remember the digest of a file, unless it is known.

        A file that is missing keeps the digest that it had: its results may be complete.

        Args:
            path: the file.
            check: called before a new or changed file is read; raises a UserError to refuse it.

        Raises:
            UserError: the file is refused or cannot be read.
        """
        key = _key(path)
        state = _state(path)
        if state and (key not in self._known or self._known[key][0] != state):
            check()
            self._known[key] = (state, file_digest(path), is_compressed(Path(path)))
            self._is_new = True

    def sha256(self, path: str | Path) -> str:
        """Return the SHA-256 of a file that was looked at, in hex; `missing` if it was never there."""
        return self._find(path)[1]

    def size(self, path: str | Path) -> int:
        """Return the bytes of a file that was looked at; 0 if it was never there."""
        return self._find(path)[0][0]

    def is_compressed(self, path: str | Path) -> bool:
        """Return whether a file that was looked at is compressed."""
        return self._find(path)[2]

    def save(self) -> None:
        """Write what is new to the memory."""
        if self._is_new:
            with suppress(PermissionError):  # a dry run in the folder of another user
                write_text(self.memory, json.dumps(self._known))
        self._is_new = False

    def _find(self, path: str | Path) -> Known:
        return self._known.get(_key(path), ([0], "missing", False))


def _key(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 (a link is not followed: it may come to point elsewhere)


def _state(path: str | Path) -> State | None:
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
