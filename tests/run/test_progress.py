"""Progress of a run: stages, tokens, time left, and lines of the jobs' logs."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.run.events import Events, make_progress, write_packed
from virnucpro.run.jobs import MOST_SHOWN
from virnucpro.run.progress import FULL, KILLED, Progress


def messages(progress: Progress) -> list[str]:
    progress.read_logs()
    return [message.text for message in progress.take_messages()]


def test_tokens_are_guessed_until_they_are_known(tmp_path: Path) -> None:
    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(prepare=2, embed=4, merge=2)
    assert progress.tokens == 200
    job = events.start("prepare", sample="s0")
    write_packed(progress, "s0", 25, 25)
    events.finish(job)
    assert progress.tokens == 100, "what is not packed yet is guessed by what is"
    job = events.start("prepare", sample="s1")
    write_packed(progress, "s1", 30, 10)
    events.finish(job)
    assert (progress.tokens, progress.tokens_done) == (90, 0)


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
    assert progress.tokens_done == 200
    with log.open("a") as file:
        file.write(" 300 tokens, 60 tokens/s, 0:00:04 left\n")
    progress.read_logs()
    assert progress.tokens_done == 300


def test_the_time_left_is_measured_for_half_a_minute_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(prepare=1, embed=2)
    assert progress.seconds_left is None
    job = events.start("prepare", sample="s0")
    write_packed(progress, "s0", 10_000, 10_000)
    events.finish(job)
    logs = [tmp_path / "1.log", tmp_path / "2.log"]
    jobs = [events.start("embed", log, sample="s0", shard=f"000{number}") for number, log in enumerate(logs, start=1)]

    def report(number: int, text: str) -> None:
        with logs[number].open("a") as file:
            file.write(f"virnucpro: embed: s0 000{number + 1}: {text}\n")
        progress.read_logs()

    report(0, "4000 of 10000 tokens are kept from an interrupted job")
    assert progress.tokens_done == 4000
    for seconds in range(0, 30, 5):
        now = 1100.0 + seconds  # the model was loaded for 100 s
        report(0, f"{5000 + 20 * seconds} of 10000 tokens, 9 tokens/s, 0:09:00 left")
        assert progress.seconds_left is None
    now = 1130.0
    report(0, "5600 of 10000 tokens, 9 tokens/s, 0:09:00 left")
    assert progress.seconds_left == pytest.approx((20_000 - 5600) / 20)
    events.finish(jobs[0])
    now = 1140.0
    report(1, "4600 of 10000 tokens, 9 tokens/s, 0:09:00 left")
    assert progress.seconds_left == pytest.approx(5400 / ((14_600 - 5000) / 40))
    events.finish(jobs[1])
    assert progress.seconds_left == 0


def test_time_left_counts_the_other_stages(tmp_path: Path) -> None:
    progress = make_progress(tmp_path, cores=2)
    events = Events(progress)
    events.plan(merge=11)
    job = events.start("merge", sample="s0")
    progress._jobs[job].started -= 8  # as if it had started 8 s earlier
    events.finish(job)
    assert progress.seconds_left == pytest.approx(8 * 10 / 2, rel=0.01)


def test_letters_are_those_of_the_shards_that_run(tmp_path: Path) -> None:
    progress = make_progress(tmp_path)
    assert (progress.letters, progress.units) == (0, ("residues", "protein"))
    Events(progress).plan(embed=4)
    assert progress.letters == 200
    progress = make_progress(tmp_path)
    Events(progress).plan(embed=2)
    assert progress.letters == 100


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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
def test_a_job_without_a_log_on_a_full_disk_was_not_killed(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        progress = make_progress(tmp_path)
        events = Events(progress)
        events.plan(prepare=1)
        events.fail(events.start("prepare", tmp_path / "prepare.log", sample="s0"))
        assert messages(progress)[0] == f"prepare failed for sample s0: {FULL}"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


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
