"""Input files from outside a run: their digests are stored, so that an unchanged file is read only once."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from virnucpro.data.fasta import is_compressed
from virnucpro.data.files import file_digest, write_text
from virnucpro.errors import UserError

State = list[int]  # size, mtime and ctime: a file with equal ones is not read again
Known = tuple[State, str, bool, str]  # state, digest, whether it is compressed, and its content


class OutsideFiles:
    """SHA-256 digests and sizes of the user's files.

    Args:
        memory: JSON file that stores the digests.
    """

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        self._known: dict[str, Known] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):  # then files are read again
            stored = json.loads(memory.read_text())
            self._known = {path: (state, *found) for path, (state, *found) in stored.items() if len(found) == 3}
        self._is_new = False

    def look_at(self, path: str | Path, check: Callable[[], str | None] = lambda: None) -> None:
        """Compute the digest of a file, unless it is known.

        A missing file keeps its last digest: its results may be complete.

        Args:
            check: Called before a new or changed file is read; raises a UserError to refuse it. It may return
                the content of the file.

        Raises:
            UserError: The file is refused or cannot be read.
        """
        key = _key(path)
        state = _state(path)
        if state and (key not in self._known or self._known[key][0] != state):
            content = check() or ""
            self._known[key] = (state, file_digest(path), is_compressed(Path(path)), content)
            self._is_new = True

    def sha256(self, path: str | Path) -> str:
        """Return the SHA-256 in hex of a file after `look_at`; `missing` if it never existed."""
        return self._find(path)[1]

    def size(self, path: str | Path) -> int:
        """Return the bytes of a file after `look_at`; 0 if it never existed."""
        return self._find(path)[0][0]

    def is_compressed(self, path: str | Path) -> bool:
        """Return whether a file is compressed, after `look_at`."""
        return self._find(path)[2]

    def content(self, path: str | Path) -> str:
        """Return the content of a file that the check in `look_at` found; empty if it found none."""
        return self._find(path)[3]

    def save(self) -> None:
        """Write new digests to the memory."""
        if self._is_new:
            with suppress(PermissionError):  # a dry run in the folder of another user
                write_text(self.memory, json.dumps(self._known))
        self._is_new = False

    def _find(self, path: str | Path) -> Known:
        return self._known.get(_key(path), ([0], "missing", False, ""))


def _key(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 (a link is not followed: its target may change)


def _state(path: str | Path) -> State | None:
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
