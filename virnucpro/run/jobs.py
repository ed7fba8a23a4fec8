"""The jobs of a run, and what their logs say."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_SHOWN = 10  # lines of one job's log
STAGE_SECONDS = 3.0  # of a job, until one of its stage is done

_EMBEDDED = re.compile(r"virnucpro: embed: .*: (\d+) of (\d+) bins, (\d+) tokens/s")
_WARNING = re.compile(r"virnucpro: (warning: .*)")
ERROR = re.compile(r"virnucpro\b[^:]*: error: (.*)")


@dataclass
class Job:
    """A job that runs: what its log says, and how much of its tokens, as a share, are embedded at which rate."""

    rule: str
    sample: str
    encoder: str
    shard: str
    log: Path | None
    announced: float  # seconds of the clock; what its log holds from before is of another run
    started: float
    offset: int = 0
    shown: int = 0
    share: float = 0
    rate: float = 0
    error: str = ""
    last_line: str = ""
    folder: Path = Path()  # in which Snakemake runs, from where the log's path starts

    def read_log(self) -> Iterator[str]:
        """Take in what was written since the last time, and yield the lines of it that the user should see."""
        if not self.log:
            return
        with suppress(FileNotFoundError), (self.folder / self.log).open("rb") as file:
            if os.fstat(file.fileno()).st_mtime < self.announced:
                return
            file.seek(self.offset)
            *lines, begun = file.read().split(b"\n")
            self.offset = file.tell() - len(begun)
            for line in lines:
                yield from self._read_line(line.decode(errors="replace").strip())

    def _read_line(self, line: str) -> Iterator[str]:
        if embedded := _EMBEDDED.match(line):
            done, bins, rate = map(int, embedded.groups())
            self.share, self.rate = done / bins, rate
        elif news := _WARNING.match(line):
            self.shown += 1
            if self.shown <= MOST_SHOWN:
                yield news[1]
            elif self.shown == MOST_SHOWN + 1:
                yield f"there is more of this in {self.log}"
        elif error := ERROR.match(line):
            self.error = error[1]
        self.last_line = line or self.last_line


@dataclass
class Stage:
    """The jobs of a rule: how many there are, and how many are started, done and failed."""

    name: str
    jobs: int = 0
    started: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0  # that those that are done took, one after another
    finished: float = 0  # when

    @property
    def mean_seconds(self) -> float:
        """What a job takes."""
        return self.seconds / self.done if self.done else STAGE_SECONDS
