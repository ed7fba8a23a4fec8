"""The screen during a run: a live display on a terminal, or occasional lines in a file."""

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from virnucpro.errors import printable
from virnucpro.report.results import number_of
from virnucpro.run.jobs import Stage
from virnucpro.run.progress import Message, Progress

BAR = 16
OF_RUN = ("fetch_model", "token_budget", "references", "fragment", "train", "summary")  # they run once
FINISHED = float("inf")
QUIET_SECONDS = 60  # between lines in a file on one stage


class Screen:
    """The display of a run's progress, on standard error.

    A terminal that can move its cursor has a live display with messages above it; other outputs have lines. Paths begin
    with the folder of results as the user gave it.
    """

    def __init__(self, progress: Progress, shown_folder: str) -> None:
        self.progress = progress
        self._shown_folder = shown_folder
        is_live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        self._console = Console(stderr=True, highlight=False, emoji=False, markup=False, force_terminal=is_live)
        self._live = None
        if is_live:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        self._reported: dict[str, float] = {}  # time of the last line on each stage

    def close(self) -> None:
        """Stop updating the display, and show the cursor again."""
        if self._live:
            self._live.stop()

    def refresh(self) -> None:
        """Show new messages and the current progress."""
        for message in self.progress.take_messages():
            self._show(message)
        if self._live:
            self._live.update(self._display(), refresh=True)
        else:
            for line in self._lines():
                print(line, file=sys.stderr, flush=True)

    def _show(self, message: Message) -> None:
        text = printable(show_paths(message.text, self._shown_folder))
        self._console.print(Text(text, style="red" if message.is_error else "yellow"), soft_wrap=True)

    def _display(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for stage in self.progress.stages.values():
            style = "red" if stage.failed else "green" if stage.done == stage.jobs else ""
            bar = ProgressBar(total=1, completed=self._share(stage), width=BAR)
            table.add_row(Text(stage.name.replace("_", " "), style), bar, Text(self._count(stage)))
        return Group(table, Text(self._times()))

    def _times(self) -> str:
        if not self.progress.stages:
            return "starting"
        seconds = self.progress.seconds_left
        left = "measuring the time left" if seconds is None else f"about {clock(seconds)} left"
        return f"{clock(time.monotonic() - self.progress.started)} so far, {left}"

    def _share(self, stage: Stage) -> float:
        """Return the finished share of a stage."""
        if stage.name == "embed" and (tokens := self.progress.tokens) and stage.done < stage.jobs:
            return self.progress.tokens_done / tokens
        return stage.done / max(stage.jobs, 1)

    def _count(self, stage: Stage) -> str:
        """Return how much of a stage is done, and the numbers of its jobs that run and that have failed."""
        if stage.name == "embed":
            (unit, noun), letters = self.progress.units, self.progress.letters
            done = amounts(self._share(stage) * letters, letters, unit)
            done += f" in {number_of(records, noun)}" if (records := self.progress.records) else ""
        else:
            jobs = f"{stage.jobs}" if stage.name in OF_RUN else number_of(stage.jobs, "sample")
            done = f"{stage.done:,} of {jobs}"
        others = {"running": stage.started - stage.done - stage.failed, "failed": stage.failed}
        return ", ".join([done, *(f"{number} {what}" for what, number in others.items() if number)])

    def _lines(self) -> Iterator[str]:
        now = time.monotonic()
        for stage in self.progress.stages.values():
            name = stage.name.replace("_", " ")
            if stage.started:
                self._reported.setdefault(stage.name, now)
            if stage.done == stage.jobs:
                if self._reported.get(stage.name) != FINISHED:
                    self._reported[stage.name] = FINISHED
                    yield f"{name}: {self._count(stage)}, {clock(now - self.progress.started)} after the start"
            elif stage.started and now - self._reported[stage.name] >= QUIET_SECONDS:
                self._reported[stage.name] = now
                yield f"{name}: {self._count(stage)}; {self._times()}"


def show_paths(text: str, folder: str) -> str:
    """Return a text in which paths of results begin with the folder as the user gave it, not with a job's `..`.

    Examples:
        >>> show_paths("its log is ../work/logs/soil/call.log", "results")
        'its log is results/work/logs/soil/call.log'
    """
    return re.sub(r"(?<![\w./])\.\./", lambda _: f"{folder}/", text)


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def amounts(done: float, total: float, unit: str) -> str:
    """Return a number of letters of an estimated total; bases are in kbp or Mbp.

    Examples:
        >>> amounts(1_260_000, 5_000_000, "bp")
        '1.3 of about 5.0 Mbp'
        >>> amounts(1_260, 500_000, "bp")
        '1 of about 500 kbp'
        >>> amounts(1200, 5000, "residues")
        '1,200 of about 5,000 residues'
    """
    if unit == "bp" and total >= 1e6:
        return f"{done / 1e6:,.1f} of about {total / 1e6:,.1f} Mbp"
    if unit == "bp":
        done, total, unit = done / 1e3, total / 1e3, "kbp"
    return f"{done:,.0f} of about {total:,.0f} {unit}"


def describe_stages(stages: Iterable[Stage]) -> str:
    """Return the seconds of the finished jobs of each stage, as the rest of a line.

    Examples:
        >>> describe_stages([Stage("prepare", done=1, seconds=12.4), Stage("embed", done=2, seconds=59), Stage("call")])
        '; seconds of jobs: prepare 12, embed 59'
    """
    seconds = [f"{stage.name.replace('_', ' ')} {stage.seconds:,.0f}" for stage in stages if stage.done]
    return f"; seconds of jobs: {', '.join(seconds)}" if seconds else ""
