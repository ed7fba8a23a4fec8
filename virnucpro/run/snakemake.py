"""Snakemake as a child process: started, listened to, stopped."""

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from virnucpro.run.lock import TOKEN, Lock

Event = dict[str, Any]

POLL_SECONDS = 0.2
STOP_SECONDS = 20  # for jobs to end by themselves, before they are made to
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_snakemake(
    arguments: Sequence[str],
    log: Path,
    lock: Lock | None,
    on_events: Callable[[list[Event]], None],
    on_signal: Callable[[int], None],
) -> int:
    """Run Snakemake in a session of its own and return its exit status, negative where a signal ended it.

    Args:
        arguments: of its command line.
        log: file for all that it and its jobs print.
        lock: of the folder, None for a dry run; it stays held until Snakemake has ended, too.
        on_events: called with Snakemake's events several times a second, also where there are none.
        on_signal: called when a signal has come, before the jobs are stopped.

    Raises:
        SystemExit: a signal came; the status is 128 and its number, as shells say it.
    """
    environment = os.environ | {"VIRNUCPRO_COMMAND": shlex.join(["virnucpro", *sys.argv[1:]])}
    if lock:
        environment[TOKEN] = lock.token
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, _signals() as caught:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "virnucpro.run.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            pass_fds=[lock.descriptor] if lock else [],
            start_new_session=True,
        )
        assert child.stdout  # noqa: S101 (for the type checker)
        deadline = None
        try:
            for events in _events(child.stdout):
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
            with suppress(ProcessLookupError):  # none of the jobs outlived it
                os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
    if caught:
        raise SystemExit(128 + caught[0])
    return status


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


def _events(stream: IO[bytes]) -> Iterator[list[Event]]:
    """Yield what was written since the last time, several times a second, until the stream is closed."""
    begun = b""
    while True:
        ready, _, _ = select.select([stream], [], [], POLL_SECONDS)
        read = os.read(stream.fileno(), 1_000_000) if ready else b""
        *lines, begun = (begun + read).split(b"\n")
        yield [json.loads(line) for line in lines]
        if ready and not read:
            return
