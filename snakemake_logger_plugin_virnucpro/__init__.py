"""Logger plugin of Snakemake: writes the events of a run as lines of JSON, which `virnucpro run` reads."""

import json
import logging
import os
import select
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

EVENTS = {"run_info", "job_info", "job_finished", "job_error", "error"}
FIELDS = ("jobid", "job_id", "rule_name", "wildcards", "log", "reason", "stats")
STOP_SECONDS = 20  # for jobs to end by themselves


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Settings of the plugin.

    Attributes:
        fd: File descriptor of a pipe. When its reader ends, for any reason, Snakemake and its jobs are stopped.
    """

    fd: int | None = field(
        default=None, metadata={"help": "File descriptor of the pipe to write to", "type": int, "required": True}
    )


class LogHandler(LogHandlerBase):
    """Writes `EVENTS` with `event`, `message`, `time`, and the `FIELDS` that an event has."""

    writes_to_stream = False
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Open the pipe, and watch its reader."""
        self.setLevel(logging.INFO)
        fd = getattr(self.settings, "fd", None)
        if fd is None:
            raise ValueError("--logger virnucpro needs --logger-virnucpro-fd; virnucpro run gives both")
        os.set_inheritable(fd, False)  # no job keeps it open
        self._pipe = os.fdopen(fd, "w", encoding="utf-8")
        threading.Thread(target=_stop_without_reader, args=(fd,), daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        event = getattr(record, "event", "error" if record.levelno >= logging.ERROR else None)
        if event not in EVENTS:
            return
        line = {"event": str(event), "message": record.getMessage(), "time": record.created}
        line |= {name: _plain(getattr(record, name)) for name in FIELDS if hasattr(record, name)}
        with suppress(BrokenPipeError):  # the reader has ended, and the jobs are being stopped
            print(json.dumps(line, default=str), file=self._pipe, flush=True)


def _plain(value: object) -> object:
    """Return a value for JSON; wildcards are pairs of names and values of Snakemake's own class."""
    return dict(value.items()) if hasattr(value, "items") else value


def _stop_without_reader(fd: int) -> None:
    """Stop all processes of this group when the reader of a pipe has ended."""
    poll = select.poll()
    poll.register(fd, 0)  # only errors
    poll.poll()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        os.killpg(0, number)
        time.sleep(STOP_SECONDS)
