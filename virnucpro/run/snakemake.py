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
from itertools import pairwise
from pathlib import Path
from typing import Any

import platformdirs

import virnucpro

Event = dict[str, Any]

_SNAKEMAKE = [sys.executable, "-P", "-m", "snakemake"]
POLL_SECONDS = 0.2
STOP_SECONDS = 20  # for jobs to end by themselves, before they are killed
CLUSTER_STOP_SECONDS = 90  # to cancel jobs of a cluster: scancel may take a minute
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Options with which Snakemake runs no job: it prints something, or cleans up.
_ANSWERS = {
    *("-h", "--help", "-v", "--version", "-l", "--list", "--list-rules", "--lt", "--list-target-rules", "--lint"),
    *("-S", "--summary", "-D", "--detailed-summary", "--dag", "--d3dag", "--rulegraph", "--filegraph", "--report"),
    *("--lc", "--list-code-changes", "--li", "--list-input-changes", "--lp", "--list-params-changes"),
    *("--lu", "--list-untracked", "--print-compilation", "--containerize", "--archive", "--unlock"),
    *("--cm", "--cleanup-metadata", "--delete-all-output", "--delete-temp-output", "--generate-unit-tests"),
    *("--conda-cleanup-envs", "--conda-create-envs-only", "--list-conda-envs"),
}


def runs_no_job(arguments: Sequence[str]) -> bool:
    """Return whether Snakemake only prints something or cleans up with these arguments."""
    return any(argument.partition("=")[0] in _ANSWERS for argument in arguments)


def ask_snakemake(arguments: Sequence[str]) -> int:
    """Run Snakemake on the terminal of this process, and return its exit status."""
    with tempfile.TemporaryDirectory(prefix="snakemake-") as cache:
        return subprocess.run([*_SNAKEMAKE, *arguments], env=_environment(cache)).returncode


def run_snakemake(
    arguments: Sequence[str],
    log: Path,
    lock: int | None,
    on_events: Callable[[list[Event]], None],
    on_signal: Callable[[int], None],
) -> int:
    """Run Snakemake in a new session and return its exit status, negative if a signal ended it.

    Args:
        lock: File descriptor of the lock of the results, held until Snakemake has ended.
        on_events: Callback with Snakemake's new events, several times a second; the list may be empty.
        on_signal: Callback when a signal arrives, before the jobs are stopped.

    Raises:
        SystemExit: A signal arrived; the status is 128 + its number, as in shells.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    command = [*_SNAKEMAKE, "--logger", "virnucpro", "--logger-virnucpro-fd", str(writer)]
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
                    is_local = ("--workflow-profile", "none") in pairwise(arguments)
                    deadline = time.monotonic() + (STOP_SECONDS if is_local else CLUSTER_STOP_SECONDS)
                if deadline and (len(caught) > 1 or time.monotonic() > deadline):
                    os.killpg(child.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # its stream ends shortly before the process
                child.wait(STOP_SECONDS)
        finally:
            os.close(reader)
            with suppress(ProcessLookupError):  # all jobs have ended
                os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
    if caught:
        raise SystemExit(128 + caught[0])
    return status


def _environment(cache: str) -> dict[str, str]:
    """Return the environment of Snakemake.

    The logger plugin must be in a folder of the path: Snakemake does not find it in an editable installation. Snakemake
    also needs a writable cache, which it does not read. A profile that the user has set for other workflows is removed:
    it may send jobs to a cluster, or run none.
    """
    environment = os.environ | {"VIRNUCPRO_COMMAND": shlex.join(["virnucpro", *sys.argv[1:]])}
    environment.pop("SNAKEMAKE_PROFILE", None)
    root = str(Path(virnucpro.__file__).parents[1])
    if root not in sys.path[1:]:  # python -m puts the working folder first, which Snakemake does not search
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    try:
        Path(platformdirs.user_cache_dir("snakemake")).mkdir(parents=True, exist_ok=True)
    except OSError:
        models = str(platformdirs.user_cache_path("virnucpro"))
        environment = {"VIRNUCPRO_CACHE": models} | environment | {"XDG_CACHE_HOME": cache}
    return environment


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect signals that arrive, instead of their default effects."""
    caught: list[int] = []
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _events(stream: int) -> Iterator[list[Event]]:
    """Yield new events several times a second, until the stream is closed."""
    begun = b""
    while True:
        ready, _, _ = select.select([stream], [], [], POLL_SECONDS)
        read = os.read(stream, 1_000_000) if ready else b""
        *lines, begun = (begun + read).split(b"\n")
        yield [json.loads(line) for line in lines]
        if ready and not read:
            return
