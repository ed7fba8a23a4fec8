"""Files that are either whole or absent, and their digests."""

import errno
import fcntl
import glob
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from virnucpro.errors import UserError, describe_error

logger = logging.getLogger(__name__)

_MARK = "virnucpro-"  # in the names of temporary folders: other hidden files are the user's


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place on success, remove it on failure.

    A reader therefore sees the old file, the whole new file or no file, even if the writer is killed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A temporary folder, not a file: some libraries refuse to open an existing file, or add a suffix.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.{_MARK}") as folder:
        temporary = Path(folder) / target.name
        with name_in_errors(target):
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())  # a power failure could otherwise leave an empty file
            temporary.replace(target)


@contextmanager
def name_in_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Add a path to errors of a full disk or quota: the system names no file in them."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
            error.filename = os.fspath(path)
        raise


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Delete the temporary files that killed writers of `path` left beside it.

    Call it only from the one process that writes `path`: temporary files of other writers are deleted too.
    """
    target = Path(path)
    for folder in target.parent.glob(f".{glob.escape(target.name)}.{_MARK}*"):
        shutil.rmtree(folder)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` atomically; a file that already holds it is left alone, with its time stamp."""
    target = Path(path)
    if target.exists() and target.read_bytes() == text.encode():
        return
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def lock_file(descriptor: int, wait: bool = False) -> bool:
    """Lock an open file until it is closed or its process ends, and return whether it is locked.

    Some file systems have no locks, such as Lustre without `-o flock` and NFS without lockd. A warning says so.

    Raises:
        BlockingIOError: Another process holds the lock and `wait` is false.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        logger.warning("this file system has no locks (%s): start one run at a time in a folder", error.strerror)
        return False
    return True


def refuse_pipe(path: str | os.PathLike[str]) -> None:
    """Raise a UserError if a path is a pipe or a device, which cannot be read twice, or if the system refuses it.

    The system refuses e.g. a name of over 255 bytes and a circle of links. A missing file is no error here.
    """
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(describe_error(error)) from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f"{path}: a pipe or a device, and input is read more than once; write it to a file first")


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hex; raise a UserError if it cannot be read."""
    refuse_pipe(path)
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
