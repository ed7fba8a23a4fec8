"""Snakemake in a process of its own, `python -m virnucpro.run.child ARGUMENTS`, which says in JSON what happens.

The process that starts it reads a line for each event from its standard output, and holds its standard input open: when
that closes, whatever ended the other process, the jobs are stopped. All that Snakemake and the jobs print goes to
standard error.
"""

import io
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

EVENTS = {"run_info", "job_info", "job_finished", "job_error", "error"}  # of Snakemake's, those of use
FIELDS = ("jobid", "job_id", "rule_name", "wildcards", "log", "reason", "stats")
STOP_SECONDS = 20  # for jobs to end by themselves


class EventWriter(logging.Handler):
    """Writes `EVENTS` as lines of JSON: `event`, `message`, `time` and those of `FIELDS` that it has."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(logging.INFO)
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        event = getattr(record, "event", "error" if record.levelno >= logging.ERROR else None)
        if event not in EVENTS:
            return
        line = {"event": str(event), "message": record.getMessage(), "time": record.created}
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        with suppress(BrokenPipeError):  # whoever read is gone, and the jobs are being stopped
            print(json.dumps(line), file=self.stream, flush=True)


def main() -> None:
    """Run Snakemake with this process's arguments."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started all in the background
    lifeline = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    threading.Thread(target=_stop_at_end, args=(lifeline,), daemon=True).start()

    from snakemake.cli import main as snakemake

    # Snakemake's logger takes away its own handlers, and passes records on to those of the logger above it.
    logging.getLogger("snakemake").addHandler(EventWriter(events))
    sys.argv[0] = "snakemake"
    with tempfile.TemporaryDirectory(prefix="snakemake-") as folder:
        _cache_somewhere(folder)
        snakemake(sys.argv[1:])


def _cache_somewhere(folder: str) -> None:
    """Have Snakemake keep its cache in a folder, if not even an empty one can be made where it should be."""
    from platformdirs import AppDirs
    from snakemake import common

    try:
        Path(common.get_appdirs().user_cache_dir).mkdir(parents=True, exist_ok=True)
    except OSError:
        redirected = type("Redirected", (AppDirs,), {"user_cache_dir": folder})
        common.APPDIRS = redirected("snakemake", "snakemake")


def _stop_at_end(lifeline: io.BufferedReader) -> None:
    lifeline.read()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        os.killpg(0, number)
        time.sleep(STOP_SECONDS)


if __name__ == "__main__":
    main()
