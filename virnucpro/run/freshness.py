"""Which stages of a run must run again, decided by content.

Every stage leaves a record of its settings and of the digests of its inputs and outputs. Here these are compared with
what the configuration asks for and with what lies in the run's folder. Nothing is written and nothing deleted.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virnucpro.data.provenance import VERSION, FileState, Provenance, intact_records


@dataclass(frozen=True)
class Made:
    """A file that a stage reads and another wrote."""

    path: Path
    by: "Step"


@dataclass(frozen=True, eq=False)
class Step:
    """A stage of a run, for one sample, or for one shard of it.

    Attributes:
        name: of the stage.
        records: file in which it says what it ran with.
        known_by: those of the files it writes by which Snakemake knows it.
        differs: returns in words what it ran with instead of what it should run with, or an empty text.
        outside: files from outside of the run that it reads, by their names in the record.
        made: files of the run that it reads, likewise.
        vouched_for: files of the run that it reads besides, whose content is known by that of the others.
        is_result: whether its outputs are results: only then does it matter if one is lost while nothing reads it.
        is_exact: whether it would write a lost output again byte by byte, so that nothing else has to follow.
    """

    name: str
    records: Path
    known_by: Sequence[Path]
    differs: Callable[[Provenance], str]
    outside: Mapping[str, Path] = field(default_factory=dict)
    made: Mapping[str, Made] = field(default_factory=dict)
    vouched_for: Sequence[Made] = ()
    is_result: bool = False
    is_exact: bool = False


class Freshness:
    """Says of each step why it must run; remembers what it was told and what it has read.

    Args:
        asked_for: returns names of steps, and files, that are to be made again whatever is there.
    """

    def __init__(self, asked_for: Callable[[], Collection[str]] = tuple) -> None:
        self._asked_for = asked_for
        self._stale: set[Step] = set()  # another content is to be expected
        self._lost: set[Step] = set()  # an output is missing or damaged and must be written again
        self._reasons: dict[Step, str] = {}  # of all these; an empty text where a step before it must run
        self._found: list[tuple[Step, str]] = []  # what must run, of which nobody was told yet
        self._records: dict[Path, dict[str, Provenance]] = {}
        self._contents: dict[tuple[Path, FileState], bool] = {}

    def add(self, steps: Iterable[Step]) -> None:
        """Look at steps, each after those whose files it reads."""
        steps = list(steps)
        for step in steps:
            if self._follows(step):
                self._note(self._stale, step, "")
            elif self._is_asked_for(step):
                self._note(self._stale, step, "asked for")
            elif reason := self._why_stale(step):
                self._note(self._stale, step, reason)
            elif reason := self._what_is_lost(step):
                self._note(self._lost, step, reason)
        for step in steps:
            if self.must_run(step):
                self._look_after_inputs(step)

    def must_run(self, step: Step) -> bool:
        """Return whether a step must run."""
        return step in self._stale or step in self._lost

    def is_stale(self, step: Step) -> bool:
        """Return whether other content is to be expected of a step than it has written."""
        return step in self._stale

    def reason(self, step: Step) -> str:
        """Return why a step must run; an empty text where a step before it must, or where it need not."""
        return self._reasons.get(step, "")

    def found(self) -> list[tuple[Step, str]]:
        """Return what was found to have to run since this was asked last, and why; no text where one before it must."""
        found, self._found = self._found, []
        return found

    def record(self, step: Step) -> Provenance | None:
        """Return the record of a step, or None where there is none to be used."""
        if step.records not in self._records:
            self._records[step.records] = intact_records(step.records)
        return self._records[step.records].get(step.name)

    def _note(self, where: set[Step], step: Step, reason: str) -> None:
        where.add(step)
        self._reasons[step] = reason
        self._found.append((step, reason))

    def _look_after_inputs(self, step: Step) -> None:
        """Have those run that made what a step is to read, where that is lost, and likewise before them."""
        for made in (*step.made.values(), *step.vouched_for):
            if not self.must_run(made.by) and not self._is_intact(made):
                self._note(self._lost, made.by, f"{made.path} is missing or damaged")
                self._look_after_inputs(made.by)

    def _follows(self, step: Step) -> bool:
        before = [made.by for made in step.made.values()]
        return any(step in self._stale or (step in self._lost and not step.is_exact) for step in before)

    def _is_asked_for(self, step: Step) -> bool:
        asked_for, record = self._asked_for(), self.record(step)
        files = [*step.known_by, *(step.records.parent / name for name in (record.outputs if record else ()))]
        return step.name in asked_for or not {str(file) for file in files}.isdisjoint(asked_for)

    def _why_stale(self, step: Step) -> str:
        record = self.record(step)
        if record is None:
            return "it has not finished"
        if record.version != VERSION:
            return "another version of virnucpro made it"
        if changed := step.differs(record):
            return changed
        for name, path in step.outside.items():
            if name not in record.inputs or not self._holds(path, record.inputs[name]):
                return f"{path} changed"
        for name, made in step.made.items():
            was, now = record.inputs.get(name), self._state(made)
            if was is None or now is None or was.sha256 != now.sha256:
                return f"{made.path} changed"
        return ""

    def _what_is_lost(self, step: Step) -> str:
        record = self.record(step)
        if step.is_result and record is not None:
            for name, state in record.outputs.items():
                if not self._holds(step.records.parent / name, state):
                    return f"{step.records.parent / name} is missing or damaged"
        return ""

    def _state(self, made: Made) -> FileState | None:
        record = self.record(made.by)
        if record is None:
            return None
        folder = made.by.records.parent
        return next((state for name, state in record.outputs.items() if folder / name == made.path), None)

    def _is_intact(self, made: Made) -> bool:
        state = self._state(made)
        return state is not None and self._holds(made.path, state)

    def _holds(self, path: Path, state: FileState) -> bool:
        if (path, state) not in self._contents:
            self._contents[path, state] = state.holds(path)
        return self._contents[path, state]


def settings(wanted: Mapping[str, Any] | None) -> Callable[[Provenance], str]:
    """Return what compares the settings of a record with those that are wanted; None is none that are known yet."""

    def differs(record: Provenance) -> str:
        return "its settings are not known yet" if wanted is None else _difference(record.settings, wanted)

    return differs


def _difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the first setting that changed, in words."""
    for name in sorted(was.keys() | now.keys()):
        old, new = was.get(name), now.get(name)
        if old != new:
            if isinstance(old, Mapping) and isinstance(new, Mapping):
                return _difference(old, new)
            return f"{name} was {_text(old)}, is {_text(new)}"
    return ""


def _text(value: object) -> str:
    return "not set" if value is None else str(value)
