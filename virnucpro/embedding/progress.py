"""Progress of an embedding, in the log or as a bar."""

import logging
import os
import sys
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

logger = logging.getLogger(__name__)

LOG_SECONDS = 5
QUIET_SECONDS = 60  # between lines for a person without a terminal


class Progress:
    """Logs the finished bins and the remaining time every few seconds.

    With `for_person` it shows a bar on a terminal instead, and without a terminal it logs once a minute.
    """

    def __init__(self, name: str, bins: int, tokens: int, for_person: bool = False) -> None:
        self.name, self.bins, self.tokens, self.for_person = name, bins, tokens, for_person
        self.bins_done = self.tokens_done = 0
        self.started = self.reported = time.monotonic()
        text = TextColumn("{task.completed:,} of {task.total:,} tokens, {task.fields[rate]:,.0f} tokens/s")
        shown = for_person and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.bar = Bar(BarColumn(), text, TimeRemainingColumn(), console=Console(stderr=True), disable=not shown)
        self.bar.add_task("", total=tokens, rate=0.0)

    def advance(self, tokens: int, bins: int = 1) -> None:
        """Record that more bins are done."""
        self.bins_done += bins
        self.tokens_done += tokens
        now = time.monotonic()
        rate = self.tokens_done / (now - self.started)
        self.bar.update(self.bar.task_ids[0], completed=self.tokens_done, rate=rate)
        if self.for_person:
            due = self.bar.disable and now - self.reported >= QUIET_SECONDS
        else:
            due = self.bins_done == self.bins or now - self.reported >= LOG_SECONDS
        if due:
            self.reported = now
            left = timedelta(seconds=round((self.tokens - self.tokens_done) / rate))
            counts = (self.name, self.bins_done, self.bins, rate, left)
            logger.info("embed: %s: %d of %d bins, %.0f tokens/s, %s left", *counts)

    def totals(self) -> dict[str, float]:
        """Return the bins and tokens of the work, and the seconds since it started."""
        seconds = time.monotonic() - self.started
        return {"bins": self.bins, "tokens": self.tokens, "seconds": round(seconds, 3)}
