"""Finished samples, and the reasons why others are not."""

import os
import time
from pathlib import Path

import pytest

from tests.run.events import make_progress
from virnucpro.data.provenance import write_provenance
from virnucpro.run.finished import has_failed, is_finished, write_failures
from virnucpro.run.plan import Plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_progress(tmp_path, samples=3).plan


def finish(plan: Plan, sample: str, key: str = "") -> Path:
    record = plan.work / sample / "merge.json"
    write_provenance(record, "merge", {}, {}, [], key=key or plan.key("merge", sample))
    return record


def log(plan: Plan, sample: str, stage: str, text: str) -> Path:
    path = plan.work / "logs" / sample / f"{stage}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_record_of_other_settings_or_damaged_is_none(plan: Plan) -> None:
    assert not is_finished(plan, "s0")
    record = finish(plan, "s0")
    assert is_finished(plan, "s0")
    record.write_bytes(record.read_bytes() + b"\xff")
    assert not is_finished(plan, "s0")
    finish(plan, "s1", key="0" * 16)
    assert not is_finished(plan, "s1")


def test_a_sample_failed_if_its_log_says_so_and_it_has_no_result(plan: Plan) -> None:
    assert not has_failed(plan, "s0")
    log(plan, "s0", "prepare", "virnucpro: fine\n")
    assert not has_failed(plan, "s0")
    log(plan, "s0", "embed_0001", "virnucpro embed: error: out of memory\n")
    assert has_failed(plan, "s0")
    finish(plan, "s0")
    assert not has_failed(plan, "s0")


def test_the_table_of_failures_says_what_failed_in_this_run(plan: Plan) -> None:
    finish(plan, "s1")
    since = time.time() - 60
    old = log(plan, "s0", "prepare", "virnucpro prepare: error: of an earlier run\n")
    os.utime(old, (since - 60, since - 60))
    log(plan, "s0", "embed_0001", "x\nvirnucpro embed: error: sample s0: no room\xff\n")
    path = write_failures(plan, ["s1"], since)
    assert path == plan.work / "failed.tsv"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == [["sample", "stage", "reason"], ["s0", "embed", "no room\xff"], ["s2", "", "not finished"]]
