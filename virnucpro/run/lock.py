"""One run at a time in a folder of results, by a lock that the kernel releases when its holder ends."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from virnucpro.data.files import lock_file, name_in_errors
from virnucpro.errors import UserError

TOKEN = "VIRNUCPRO_RUN"  # noqa: S105 (environment variable that marks the processes of a run)
PATIENCE = 30  # seconds that a killed run has to stop its jobs


def hold(folder: Path) -> int | None:
    """Hold a folder until this process and all processes that inherit the lock have ended.

    The file run.lock in the folder names the holder. Jobs that a killed run left behind are ended.

    Args:
        folder: Folder of results, created if missing.

    Returns:
        The file descriptor of the lock; None if a process that started this one holds the folder.

    Raises:
        UserError: Another run is active in the folder.
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
    with name_in_errors(path):  # the disk may be full
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    return descriptor


def release(descriptor: int) -> None:
    """Release a folder."""
    os.truncate(descriptor, 0)
    os.close(descriptor)
    del os.environ[TOKEN]


def _acquire(descriptor: int, path: Path) -> None:
    deadline, cure = time.monotonic() + PATIENCE, "wait for it, or give another outdir"
    while True:
        holder = read_object(path)
        has_ended = holder.get("host") == socket.gethostname() and not Path(f"/proc/{holder['process']}").exists()
        with suppress(BlockingIOError):
            if lock_file(descriptor) or not holder or has_ended:
                return
            cure = f"if there is none, delete {path}"  # a file system without locks: the file alone speaks for a run
        if not has_ended or time.monotonic() > deadline:
            os.close(descriptor)
            who = "process {process} on {host}".format_map(holder) if holder else "starting"
            raise UserError(f"{path.parent}: another run is going on there ({who}); {cure}")
        time.sleep(0.2)


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty if the file is missing or damaged."""
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def _end_processes(token: str) -> None:
    """End the jobs that a killed run left behind on this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            if f"{TOKEN}={token}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
