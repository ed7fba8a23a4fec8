"""One run at a time in a folder, whatever ended the last."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.workflow.project import wait_for
from virnucpro.errors import UserError
from virnucpro.run.lock import TOKEN, locked

HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from virnucpro.run.lock import TOKEN, locked
with locked(Path(sys.argv[1])) as lock:
    job = subprocess.Popen(["sleep", "60"], env={TOKEN: lock.token, "PATH": os.environ["PATH"]}, start_new_session=True)
    print(job.pid, flush=True)
    time.sleep(60)
"""


def hold(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a process that holds a folder, and a job of it."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    return holder, int(holder.stdout.readline())


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def snakemake_lock(folder: Path) -> Path:
    lock = folder / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("x")
    return lock


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    holder, job = hold(tmp_path)
    lock = snakemake_lock(tmp_path)
    with pytest.raises(UserError, match=f"another run is going on there .process {holder.pid} on"), locked(tmp_path):
        pass
    assert is_running(job)
    assert lock.exists()
    holder.kill()
    holder.wait()
    os.kill(job, signal.SIGKILL)


def test_what_a_killed_run_left_is_ended(tmp_path: Path) -> None:
    holder, job = hold(tmp_path)
    lock = snakemake_lock(tmp_path)
    holder.kill()
    holder.wait()
    assert is_running(job)
    with locked(tmp_path):
        assert not lock.exists()
        wait_for(lambda: not is_running(job), seconds=10)


def test_a_run_that_came_to_its_end_leaves_nothing_to_end(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    with pytest.raises(UserError, match="x"), locked(tmp_path):
        raise UserError("x")
    lock = snakemake_lock(tmp_path)  # of a Snakemake that somebody started by hand
    with locked(tmp_path):
        assert lock.exists()


def test_the_lock_is_kept_while_a_child_has_it_and_waited_for_when_its_holder_is_gone(tmp_path: Path) -> None:
    code = HOLD.replace("start_new_session=True", "pass_fds=[lock.descriptor]").replace('"60"]', '"2"]')
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    start = time.monotonic()
    with locked(tmp_path):
        assert 0.5 < time.monotonic() - start < 20


def test_the_token_is_of_one_run(tmp_path: Path) -> None:
    assert TOKEN not in os.environ
    with locked(tmp_path) as first:
        pass
    with locked(tmp_path) as second:
        pass
    assert first.token != second.token


def test_a_folder_that_must_not_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file"):
        pass
