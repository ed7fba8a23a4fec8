"""Finished samples of a run, and reasons why others are not finished."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from virnucpro.data.description import PROTEINS
from virnucpro.data.provenance import read_provenance
from virnucpro.data.tables import write_table
from virnucpro.errors import UserError
from virnucpro.run.jobs import ERROR
from virnucpro.run.plan import Plan


def is_finished(plan: Plan, sample: str) -> bool:
    """Return whether the results of a sample exist, made from its current FASTA with the current settings."""
    stage = plan.final(sample)
    encoders = [PROTEINS] if stage == "call" else plan.encoders
    with suppress(UserError):
        records = {name: read_provenance(plan.work / sample / f"{stage}{name}.json", stage) for name in encoders}
        return all(record.key == plan.key(stage, sample, name) for name, record in records.items())
    return False


def is_complete(plan: Plan, sample: str) -> bool:
    """Return whether a sample is finished and all its results exist, so that no job of it would run."""
    embeddings, calls = plan.results_of(sample)
    return is_finished(plan, sample) and all(path.exists() for path in (*embeddings, *calls))


def has_failed(plan: Plan, sample: str) -> bool:
    """Return whether a sample has no result yet and its earlier run ended in an error."""
    folder = plan.work / sample
    if (folder / f"{plan.final(sample)}.json").exists():
        return False
    return any(_error(log) for log in (plan.work / "logs" / sample).glob("*.log"))


def write_failures(plan: Plan, finished: Iterable[str], since: float) -> Path:
    """Write a table of unfinished samples, with sample, stage and reason; return its path.

    Only logs since the start of the run, `since`, are read.
    """
    rows, done = [], set(finished)
    for sample in (sample for sample in plan.samples if sample not in done):
        logs = sorted((plan.work / "logs" / sample).glob("*.log"))
        errors = {log.stem: _error(log) for log in logs if log.stat().st_mtime >= since}
        stage, reason = next(((stage, error) for stage, error in errors.items() if error), ("", "not finished"))
        rows.append((sample, stage.partition("_")[0], reason))
    path = plan.work / "failed.tsv"
    write_table(pd.DataFrame(rows, columns=["sample", "stage", "reason"]), path)
    return path


def _error(log: Path) -> str:
    """Return the last error in a log, without the name of the sample."""
    found = ERROR.findall(log.read_text(encoding="utf-8", errors="replace"))
    return str(found[-1]).removeprefix(f"sample {log.parent.name}: ") if found else ""
