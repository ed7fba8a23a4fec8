"""The jobs of a run and their logs."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_SHOWN = 10  # most lines of one job's log that are shown
STAGE_SECONDS = 3.0  # assumed seconds of a job, until one of its stage is done

_EMBEDDED = re.compile(r"virnucpro: embed: .*: (\d+) of (\d+) tokens( are kept)?")
_WARNING = re.compile(r"virnucpro: (warning: .*)")
ERROR = re.compile(r"virnucpro\b[^:]*: error: (.*)")


@dataclass
class Job:
    """A running job: its log, the share of its tokens that are embedded, and that an earlier job embedded."""

    rule: str
    sample: str
    encoder: str
    shard: str
    log: Path | None
    announced: float  # time of its start; older lines of its log are of another run
    started: float
    offset: int = 0
    shown: int = 0
    share: float = 0
    kept: float = 0
    error: str = ""
    last_line: str = ""
    folder: Path = Path()  # working folder of Snakemake, which the log's path is relative to

    def read_log(self) -> Iterator[str]:
        """Read the new part of the log, and yield its lines for the user."""
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
            self.share = int(embedded[1]) / int(embedded[2])
            self.kept = self.share if embedded[3] else self.kept
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
    """The jobs of a rule: how many there are, have started, are done and have failed."""

    name: str
    jobs: int = 0
    started: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0  # sum over the jobs that are done

    @property
    def mean_seconds(self) -> float:
        """Mean seconds of a job."""
        return self.seconds / self.done if self.done else STAGE_SECONDS
