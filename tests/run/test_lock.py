"""One run at a time in a folder, whatever ended the last."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.workflow.project import wait_for
from virnucpro.errors import UserError
from virnucpro.run.lock import TOKEN, hold, release

HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from virnucpro.run.lock import hold
descriptor = hold(Path(sys.argv[1]))
job = subprocess.Popen(["sleep", sys.argv[2]], start_new_session=True, pass_fds=[descriptor] if sys.argv[3:] else [])
print(job.pid, flush=True)
time.sleep(700)
"""


def start(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], int]:
    """Start a process that holds a folder, and a job of it; with two arguments the job has the lock, too."""
    command = [sys.executable, "-c", HOLD, str(folder), *(arguments or ["700"])]
    holder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    job = int(holder.stdout.readline())
    wait_for(lambda: Path(f"/proc/{job}/environ").read_bytes())  # the kernel has not noted it at once
    return holder, job


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    holder, job = start(tmp_path)
    message = rf"another run is going on there .process {holder.pid} on .*; wait for it, or give another outdir$"
    with pytest.raises(UserError, match=message):
        hold(tmp_path)
    assert is_running(job)
    holder.kill()
    holder.wait()
    os.kill(job, signal.SIGKILL)


def test_what_a_killed_run_left_is_ended(tmp_path: Path) -> None:
    holder, job = start(tmp_path)
    holder.kill()
    holder.wait()
    assert is_running(job)
    descriptor = hold(tmp_path)
    assert descriptor is not None
    wait_for(lambda: not is_running(job))
    release(descriptor)


def test_a_run_that_came_to_its_end_leaves_nothing_to_end(tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        descriptor = hold(tmp_path / "made")
        assert descriptor is not None
        tokens.append(os.environ[TOKEN])
        release(descriptor)
        assert (tmp_path / "made" / "run.lock").read_text() == ""
        assert TOKEN not in os.environ
    assert tokens[0] != tokens[1]


def test_the_lock_is_kept_while_a_child_has_it_and_waited_for_when_its_holder_is_gone(tmp_path: Path) -> None:
    holder, job = start(tmp_path, "2", "with the lock")
    holder.kill()
    holder.wait()
    descriptor = hold(tmp_path)
    assert not is_running(job)
    assert descriptor is not None
    release(descriptor)


def test_a_process_that_the_holder_started_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = hold(tmp_path)
    assert descriptor is not None
    assert hold(tmp_path) is None, "Snakemake, started by virnucpro run, takes the lock in onstart"
    inner = hold(tmp_path / "other")  # a run of another folder, started from a job of this one
    assert inner is not None
    release(inner)
    monkeypatch.setenv(TOKEN, "of another run")
    with pytest.raises(UserError, match="another run"):
        hold(tmp_path)
    release(descriptor)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        hold(tmp_path / "file")


# What flock answers on Lustre without -o flock, NFS without lockd, and some network file systems.
ANSWERS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]
NO_LOCKS = "#include <errno.h>\nint flock(int file, int how) { errno = %d; return -1; }\n"


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler: apt-get install gcc libc6-dev")
@pytest.mark.parametrize("answer", ANSWERS)
def test_without_locks_the_file_says_who_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
    (tmp_path / "flock.c").write_text(NO_LOCKS % answer)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "flock.so", tmp_path / "flock.c"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "flock.so"))
    held = tmp_path / "held"
    holder, job = start(held)
    second = [sys.executable, "-c", HOLD, str(held), "700"]
    done = subprocess.run(second, cwd=ROOT, capture_output=True, text=True)
    assert "another run is going on there" in done.stderr
    assert f"if there is none, delete {held / 'run.lock'}" in done.stderr
    assert is_running(job)
    holder.kill()
    holder.wait()
    third, _ = start(held)  # the killed run's job is ended, and the next begins
    wait_for(lambda: not is_running(job))
    third.kill()
    third.wait()
