"""One run at a time in a folder, by a lock that the kernel releases whatever ends its holder."""

import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from virnucpro.errors import UserError

TOKEN = "VIRNUCPRO_RUN"  # noqa: S105 (a name in the environment of a run's processes, by which they are known)
PATIENCE = 30  # seconds for a run whose first process was killed to stop its jobs


class Lock(NamedTuple):
    """A folder's lock, held: a file descriptor, and what the environment of the run's processes has as `TOKEN`."""

    descriptor: int
    token: str


@contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Hold a folder for a run.

    The file .lock in it says who holds it, or held it and was killed: then what is left of that run is ended, its
    processes and Snakemake's own lock.

    Raises:
        UserError: another run is going on in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(descriptor, path)
        if killed := _read(path):
            _end_processes(killed["token"])
            unlock_snakemake(folder)
        lock = Lock(descriptor, uuid4().hex)
        holder = {"host": socket.gethostname(), "process": os.getpid(), "token": lock.token}
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        try:
            yield lock
        finally:
            os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)


def unlock_snakemake(folder: Path) -> None:
    """Remove the lock that a killed Snakemake left, for who holds the folder's own."""
    for left in (folder / ".snakemake" / "locks").glob("*"):
        left.unlink()


def _acquire(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _read(path)
            stops_by_itself = holder.get("host") == socket.gethostname() and not _is_alive(holder["process"])
            if not stops_by_itself or time.monotonic() > deadline:
                who = "process {process} on {host}".format_map(holder) if holder else "starting"
                raise UserError(
                    f"{path.parent}: another run is going on there ({who}); wait for it, or give another --outdir"
                ) from None
        time.sleep(0.2)


def _read(path: Path) -> dict[str, Any]:
    with suppress(ValueError):
        holder: dict[str, Any] = json.loads(path.read_text())
        return holder
    return {}


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _end_processes(token: str) -> None:
    """End the jobs that a killed Snakemake left behind on this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if f"{TOKEN}={token}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
