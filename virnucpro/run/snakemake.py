"""Snakemake as a child process: started, listened to, stopped."""

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

import virnucpro

Event = dict[str, Any]

POLL_SECONDS = 0.2
STOP_SECONDS = 20  # for jobs to end by themselves, before they are made to
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_snakemake(
    arguments: Sequence[str],
    log: Path,
    lock: int | None,
    on_events: Callable[[list[Event]], None],
    on_signal: Callable[[int], None],
) -> int:
    """Run Snakemake in a session of its own and return its exit status, negative where a signal ended it.

    Args:
        arguments: of its command line.
        log: file for all that it and its jobs print.
        lock: file descriptor of the lock of the results; it stays held until Snakemake has ended, too.
        on_events: called with Snakemake's events several times a second, also where there are none.
        on_signal: called when a signal has come, before the jobs are stopped.

    Raises:
        SystemExit: a signal came; the status is 128 and its number, as shells say it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    command = [sys.executable, "-P", "-m", "snakemake", "--logger", "virnucpro", "--logger-virnucpro-fd", str(writer)]
    with log.open("wb") as output, _signals() as caught, tempfile.TemporaryDirectory(prefix="snakemake-") as cache:
        child = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(cache),
            pass_fds=[writer, *([lock] if lock is not None else [])],
            start_new_session=True,
        )
        os.close(writer)
        deadline = None
        try:
            for events in _events(reader):
                if not caught:
                    on_events(events)
                elif deadline is None:
                    on_signal(caught[0])
                    os.killpg(child.pid, signal.SIGINT)
                    deadline = time.monotonic() + STOP_SECONDS
                if deadline and (len(caught) > 1 or time.monotonic() > deadline):
                    os.killpg(child.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # its stream ends a moment before it does
                child.wait(STOP_SECONDS)
        finally:
            os.close(reader)
            with suppress(ProcessLookupError):  # none of the jobs outlived it
                os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
    if caught:
        raise SystemExit(128 + caught[0])
    return status


def _environment(cache: str) -> dict[str, str]:
    """Return the environment of Snakemake.

    It must see the logger plugin, which it finds in folders of its path alone and not through an editable installation;
    and it needs a cache that it can write, though it never reads it.
    """
    environment = os.environ | {"VIRNUCPRO_COMMAND": shlex.join(["virnucpro", *sys.argv[1:]])}
    root = str(Path(virnucpro.__file__).parents[1])
    if root not in sys.path:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    try:
        Path(platformdirs.user_cache_dir("snakemake")).mkdir(parents=True, exist_ok=True)
    except OSError:
        models = str(platformdirs.user_cache_path("virnucpro"))
        environment = {"VIRNUCPRO_CACHE": models} | environment | {"XDG_CACHE_HOME": cache}
    return environment


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that come, in place of what they do."""
    caught: list[int] = []
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _events(stream: int) -> Iterator[list[Event]]:
    """Yield what was written since the last time, several times a second, until the stream is closed."""
    begun = b""
    while True:
        ready, _, _ = select.select([stream], [], [], POLL_SECONDS)
        read = os.read(stream, 1_000_000) if ready else b""
        *lines, begun = (begun + read).split(b"\n")
        yield [json.loads(line) for line in lines]
        if ready and not read:
            return
