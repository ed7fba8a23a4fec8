"""Atomic writing: a file is whole, old or absent, even if its writer is killed."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from virnucpro.data.files import atomic_path, lock_file, write_text
from virnucpro.errors import describe_error


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_in_mid_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    code = (
        "import sys, time\nfrom virnucpro.data.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary, temporary.open('w') as file:\n"
        "    file.write('half'); file.flush(); print('writing', flush=True); time.sleep(700)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert path.read_text() == "old"


def test_write_text_keeps_the_time_stamp_of_what_did_not_change(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    write_text(path, "a\n")
    before = path.stat().st_mtime_ns
    time.sleep(0.01)
    write_text(path, "a\n")
    assert path.stat().st_mtime_ns == before
    write_text(path, "b\n")
    assert path.read_text() == "b\n"


def test_an_error_that_names_no_file_gets_the_name_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "x"), Path("/dev/full").open("wb", 0) as full:
        full.write(b"x")
    cure = "free space, then run the same command again"
    assert describe_error(caught.value) == f"{tmp_path / 'x'}: No space left on device; {cure}"
    assert not list(tmp_path.iterdir())


def test_the_warning_of_a_file_system_without_locks_says_what_the_system_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (tmp_path / "a").open("w") as file:
        assert not lock_file(file.fileno())
    assert "has no locks (No locks available)" in caplog.text
