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
    """Logs the embedded tokens and the remaining time every few seconds.

    With `for_person` it shows a bar on a terminal instead, and without a terminal it logs once a minute.

    Args:
        tokens: Number of tokens of the work.
        done: Number of tokens that are embedded already.
    """

    def __init__(self, name: str, tokens: int, done: int = 0, for_person: bool = False) -> None:
        self.name, self.tokens, self.done, self.for_person = name, tokens, done, for_person
        self.begun_with = done
        self.started = self.reported = time.monotonic()
        text = TextColumn("{task.completed:,} of {task.total:,} tokens, {task.fields[rate]:,.0f} tokens/s")
        shown = for_person and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.bar = Bar(BarColumn(), text, TimeRemainingColumn(), console=Console(stderr=True), disable=not shown)
        self.bar.add_task("", total=tokens, completed=done, rate=0.0)

    def advance(self, tokens: int) -> None:
        """Record that more tokens are embedded."""
        self.done += tokens
        now = time.monotonic()
        rate = (self.done - self.begun_with) / (now - self.started)
        self.bar.update(self.bar.task_ids[0], completed=self.done, rate=rate)
        if self.for_person:
            due = self.bar.disable and now - self.reported >= QUIET_SECONDS
        else:
            due = self.done == self.tokens or now - self.reported >= LOG_SECONDS
        if due:
            self.reported = now
            left = timedelta(seconds=round((self.tokens - self.done) / rate))
            counts = (self.name, self.done, self.tokens, rate, left)
            logger.info("embed: %s: %d of %d tokens, %.0f tokens/s, %s left", *counts)
