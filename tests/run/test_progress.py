"""Progress of a run: stages, tokens, time left, and lines of the jobs' logs."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.run.events import Events, make_progress, write_packed
from virnucpro.run.jobs import MOST_SHOWN
from virnucpro.run.progress import KILLED, Progress


def messages(progress: Progress) -> list[str]:
    progress.read_logs()
    return [message.text for message in progress.take_messages()]


def test_tokens_are_guessed_until_they_are_known(tmp_path: Path) -> None:
    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(prepare=2, embed=4, merge=2)
    assert (progress.tokens, progress.shards_to_pack) == (200, 4)
    job = events.start("prepare", sample="s0")
    write_packed(progress, "s0", 25, 25)
    events.finish(job)
    assert progress.tokens == 100, "what is not packed yet is guessed by what is"
    job = events.start("prepare", sample="s1")
    write_packed(progress, "s1", 30, 10)
    events.finish(job)
    assert (progress.tokens, progress.shards_to_pack, progress.tokens_done) == (90, 0, 0)


def test_tokens_done_come_from_jobs_and_their_logs(tmp_path: Path) -> None:
    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(prepare=2, embed=4)
    for sample in ("s0", "s1"):
        job = events.start("prepare", sample=sample)
        write_packed(progress, sample, 100, 300)
        events.finish(job)
    log = tmp_path / "embed.log"
    first = events.start("embed", sample="s0", shard="0001")
    events.finish(first)
    events.start("embed", log, sample="s0", shard="0002")
    assert progress.tokens_done == 100
    log.write_text(
        "virnucpro: embed: s0 0002: 100 of 300 tokens, 50 tokens/s, 0:00:04 left\nvirnucpro: embed: s0 0002: 200 of"
    )
    progress.read_logs()
    assert (progress.tokens_done, progress.rate) == (200, 50)
    assert progress.seconds_left == pytest.approx((800 - 200) / 50)
    with log.open("a") as file:
        file.write(" 300 tokens, 60 tokens/s, 0:00:04 left\n")
    progress.read_logs()
    assert (progress.tokens_done, progress.rate) == (300, 60)
    events.start("embed", sample="s1", shard="0001")  # it loads its model: two are at work
    assert progress.rate == 120


def test_time_left_counts_the_other_stages(tmp_path: Path) -> None:
    progress = make_progress(tmp_path, cores=2)
    events = Events(progress)
    events.plan(merge=11)
    job = events.start("merge", sample="s0")
    progress._jobs[job].started -= 8  # as if it had started 8 s earlier
    events.finish(job)
    assert progress.seconds_left == pytest.approx(8 * 10 / 2, rel=0.01)


def test_the_speed_is_guessed_once_the_device_is_known(tmp_path: Path) -> None:
    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(token_budget=1, prepare=2, embed=4)
    assert progress.seconds_left is None
    job = events.start("token_budget")
    work = progress.plan.work
    work.mkdir(parents=True)
    model = {"name": "m", "sha256": "0" * 64, "layers": 6, "embed_dim": 320, "heads": 20}
    model |= {"architecture": "ESM-2", "feed_forward": 1280}
    budget = {"device": "cpu", "model": model, "precision": "float32", "token_budget": 4096}
    (work / "token_budget.json").write_text(json.dumps(budget))
    events.finish(job)
    assert progress.rate == pytest.approx(2e11 / (24 * 6 * 320**2))
    assert progress.seconds_left is not None


def test_what_logs_say_is_said_once(tmp_path: Path) -> None:
    progress = make_progress(tmp_path)
    events = Events(progress)
    progress.log.write_text("Building DAG\nvirnucpro: warning: of the plan\n")
    events.plan(prepare=3)
    assert messages(progress) == ["warning: of the plan"]
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    for log in logs:
        events.start("prepare", log)
        log.write_text("virnucpro: warning: no CUDA device\nvirnucpro: prepare: said\n")
    assert messages(progress) == ["warning: no CUDA device"]
    logs[0].write_text(logs[0].read_text() + "".join(f"virnucpro: warning: {number}\n" for number in range(20)))
    said = messages(progress)
    assert said[:-1] == [f"warning: {number}" for number in range(MOST_SHOWN - 1)]
    assert said[-1] == f"there is more of this in {logs[0]}"
    progress.log.write_text(progress.log.read_text() + "virnucpro: warning: what a job has said again\n")
    assert messages(progress) == []


def test_the_log_of_an_earlier_run_says_nothing(tmp_path: Path) -> None:
    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(prepare=1)
    log = tmp_path / "prepare.log"
    log.write_text("virnucpro: warning: old\n")
    old = time.time() - 100
    os.utime(log, (old, old))
    job = events.start("prepare", log, sample="s0")
    assert messages(progress) == []
    log.write_text("virnucpro: warning: new\n")
    events.finish(job)
    assert messages(progress) == ["warning: new"]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("virnucpro: x\nvirnucpro prepare: error: sample s0: f.fa: no such file\nlast\n", "f.fa: no such file"),
        ("Traceback (most recent call last):\n  File x\nValueError: y\n\n", "ValueError: y"),
        ("", KILLED),
        ("virnucpro: embed: 3 of 9 tokens\n", KILLED),
    ],
)
def test_a_failure_is_told_in_the_words_of_the_stage(log: str, said: str, tmp_path: Path) -> None:
    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(prepare=2)
    path = tmp_path / "prepare.log"
    job = events.start("prepare", path, sample="s0")
    path.write_text(log)
    events.fail(job)
    assert messages(progress) == [f"prepare failed for sample s0: {said}", f"its log is {path}"]
    assert [stage.failed for stage in progress.stages.values()] == [1]
    assert len(progress.failures) == 1


def test_a_job_that_is_tried_again_has_not_failed(tmp_path: Path) -> None:
    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(prepare=1)
    job = events.start("prepare", sample="s0")
    events.fail(job)
    events.last = job - 1
    events.start("prepare", sample="s0")
    events.finish(job)
    assert not progress.failures
    (stage,) = progress.stages.values()
    assert (stage.done, stage.jobs, stage.failed) == (1, 1, 0)
