"""Reasons why jobs run, in words, from Snakemake's reasons."""

import ast
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable

from virnucpro.run.snakemake import Event

_PARAMS = re.compile(r"Params have changed since last execution: .*?before: (.*?) now: (.*)")
_KEY = re.compile("[0-9a-f]{16}")  # key of a job: it changes with any setting or file
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_WORDS = {
    "Missing output files": "not made yet",
    "Input files updated by another job": "what it reads is new",
    "Updated input files": "what it reads has changed",
    "Forced execution": "asked for",
    "Code has changed since last execution": "code changed",
}


def describe_reason(reason: str) -> str:
    """Return why a job runs, from Snakemake's reason.

    Examples:
        >>> describe_reason("Missing output files: out/soil/contigs.tsv")
        'not made yet'
        >>> describe_reason(
        ...     "Params have changed since last execution: Union of exclusive params before and now across all output: "
        ...     "before: '--prior 0.5 --min-length 0' now: '--prior 0.1 --min-length 0' "
        ... )
        '--prior was 0.5, is 0.1'
    """
    if found := _PARAMS.match(reason):
        before, now = (_texts(side) for side in found.groups())
        changes = [_change(_alike(text, before), text) for text in now]
        return "; ".join(filter(None, changes)) or "an earlier stage or this program has changed"
    name = reason.partition(":")[0]
    return _WORDS.get(name, name.lower())


def has_changed(reason: str) -> bool:
    """Return whether a job runs again because its settings or input files of the run have changed."""
    return reason.startswith("Params have changed")


def table_of_jobs(jobs: Iterable[Event]) -> str:
    """Return a table of the jobs that would run: stage, number and reason."""
    stages: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for job in jobs:
        stages[job["rule_name"]][describe_reason(job["reason"])] += 1
    rows = [("stage", "jobs", "why")]
    for name, whys in stages.items():
        told = [why if len(whys) == 1 else f"{why} ({count:,})" for why, count in whys.most_common()]
        rows.append((name.replace("_", " "), f"{whys.total():,}", "; ".join(told)))
    width, digits = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "".join(f"{name:{width}}  {count:>{digits}}  {why}\n" for name, count, why in rows)


def _texts(side: str) -> list[str]:
    """Return the parameters of one side; a list counts as its members."""
    return [str(ast.literal_eval(text)) for text in _TEXT.findall(side)]


def _alike(text: str, others: list[str]) -> str:
    """Return the old parameter that a text replaces: the one that begins with the same word."""
    word = text.partition(" ")[0]
    return next((other for other in others if other.partition(" ")[0] == word), "")


def _change(before: str, now: str) -> str:
    """Return the change of a parameter in words."""
    name = now.partition(" ")[0]
    if _KEY.fullmatch(now):
        return ""
    if not name.startswith("--"):
        return f"{name} changed" if "SHA-256" in now else f"{now}, was {before.removeprefix(name).strip() or 'not set'}"
    old, new = _options(before), _options(now)
    changed = (key for key in new | old if new.get(key) != old.get(key))
    return "; ".join(f"{key} was {old.get(key, 'not set')}, is {new.get(key, 'not set')}" for key in changed)


def _options(text: str) -> dict[str, str]:
    """Return the values of options, by their names."""
    values: dict[str, str] = {}
    name = ""
    for word in shlex.split(text):
        if word.startswith("--"):
            name = word
            values[name] = "set"
        else:
            values[name] = f"{values[name].removeprefix('set')} {word}".strip()
    return values
