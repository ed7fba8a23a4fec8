"""One run at a time in a folder of results, by a lock that the kernel releases whatever ends its holder."""

import fcntl
import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from virnucpro.errors import UserError

TOKEN = "VIRNUCPRO_RUN"  # noqa: S105 (a variable in the environment of a run's processes, by which they are known)
PATIENCE = 30  # seconds for a run whose first process was killed to stop its jobs


def hold(folder: Path) -> int | None:
    """Hold a folder until this process and those that inherit the lock have ended.

    The file run.lock in it says who holds it. The jobs of a run that was killed are ended.

    Args:
        folder: made if it is missing.

    Returns:
        The file descriptor of the lock; None if a process that started this one holds the folder.

    Raises:
        UserError: another run is going on in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.lock"
    if os.environ.get(TOKEN) and read_object(path).get("token") == os.environ[TOKEN]:
        return None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _acquire(descriptor, path)
    if killed := read_object(path):
        _end_processes(killed["token"])
    os.environ[TOKEN] = uuid4().hex
    holder = {"host": socket.gethostname(), "process": os.getpid(), "token": os.environ[TOKEN]}
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    return descriptor


def release(descriptor: int) -> None:
    """Release a folder."""
    os.truncate(descriptor, 0)
    os.close(descriptor)
    del os.environ[TOKEN]


def _acquire(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = read_object(path)
            is_here = holder.get("host") == socket.gethostname()
            stops_by_itself = is_here and not Path(f"/proc/{holder['process']}").exists()
            if not stops_by_itself or time.monotonic() > deadline:
                os.close(descriptor)
                who = "process {process} on {host}".format_map(holder) if holder else "starting"
                raise UserError(
                    f"{path.parent}: another run is going on there ({who}); wait for it, or give another outdir"
                ) from None
        time.sleep(0.2)


def read_object(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; nothing if it is missing or damaged."""
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def _end_processes(token: str) -> None:
    """End the jobs that a killed run left behind on this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if f"{TOKEN}={token}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
