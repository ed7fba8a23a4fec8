"""Leases: real processes that compete for the same devices."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from virnucpro.encoders.devices import lease_device, lease_one, resolve_precision
from virnucpro.errors import UserError

HOLDER = """
import logging, sys, time
from virnucpro.encoders.devices import lease_one
logging.basicConfig(format="%(message)s", level=logging.INFO)
with lease_one(sys.argv[2].split(","), poll_seconds=0.05) as index:
    print(index, time.time(), flush=True)
    time.sleep(float(sys.argv[1]))
    print(time.time(), flush=True)
"""


NAMES = ["GPU-a", "GPU-b"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path for the folder of leases that all users can create."""
    tmp_path.chmod(0o1777)
    for parent in tmp_path.parents[:3]:  # pytest's own, one more of them where there are several workers
        if parent.stat().st_uid == os.getuid() and parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)
    monkeypatch.setenv("VIRNUCPRO_LEASE_DIR", str(tmp_path / "leases"))
    return tmp_path / "leases"


def holder(
    seconds: float, names: list[str], warned: Path | None = None, within: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    environment = os.environ | ({"VIRNUCPRO_WARNED": str(warned)} if warned else {})
    command = [*within, sys.executable, "-c", HOLDER, str(seconds), ",".join(names)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_jobs_lease_different_devices_and_queue_when_there_are_none(tmp_path: Path) -> None:
    jobs = [holder(1.0, NAMES, tmp_path / "warned") for _ in range(5)]
    held: dict[str, list[tuple[float, float]]] = {}
    logs = ""
    for job in jobs:
        out, err = job.communicate(timeout=120)
        index, since, until = out.split()
        held.setdefault(index, []).append((float(since), float(until)))
        logs += err
    assert set(held) == {"0", "1"}
    for spans in held.values():
        spans.sort()
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    assert logs.count("all 2 devices are taken") == 1, "three jobs waited, and one of a run says so"


NEW_NETWORK = ("unshare", "--net")  # as a container has


@pytest.mark.parametrize("within", [(), NEW_NETWORK], ids=["beside it", "in another network namespace"])
def test_a_killed_job_releases_its_device(within: tuple[str, ...], folder: Path) -> None:
    if within and (not shutil.which("unshare") or subprocess.run([*within, "true"], capture_output=True).returncode):
        pytest.skip("network namespaces cannot be made here")
    job = holder(600, NAMES[:1])
    assert job.stdout is not None
    assert job.stdout.readline().startswith("0")
    waiting = holder(0, NAMES[:1], within=within)
    assert waiting.stderr is not None
    line = waiting.stderr.readline()
    assert f"all 1 devices are taken (locks in {folder})" in line, "it was held when the blow fell"
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert waiting.communicate(timeout=60)[0].startswith("0")


def test_a_lease_ends_with_its_block_and_with_an_error_in_it() -> None:
    for _ in range(2):
        with suppress(BlockingIOError), lease_one(NAMES) as index:
            assert index == 0
            raise BlockingIOError("not of the lease")
    with lease_one(NAMES) as one, lease_one(NAMES) as other:
        assert (one, other) == (0, 1)


def test_a_lease_is_not_inherited() -> None:
    """A child process of a job does not hold the lease: it may outlive the job."""
    with lease_one(NAMES):
        child = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        with lease_one(NAMES) as index:
            assert index == 0
    finally:
        child.kill()
        child.wait()


AS_ANOTHER_USER = """
import os, sys
from virnucpro.encoders.devices import lease_one
os.setgid(65534)
os.setuid(65534)
os.umask(0o077)
os.environ["TMPDIR"] = "/nowhere"
with lease_one(sys.argv[1:]) as index:
    print(index, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as two users")
def test_two_users_share_the_leases(folder: Path) -> None:
    """Each user can lock the files of the other, and delete no file, with any umask and in either order."""
    command = [sys.executable, "-c", AS_ANOTHER_USER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, NAMES[0]], **pipes) as first:
        assert first.stdout.readline() == "0\n"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
        assert folder.stat().st_uid == 65534
        with lease_one(NAMES) as index:
            assert index == 1
            second = subprocess.run([*command, "GPU-c", *NAMES], input="", capture_output=True, text=True, timeout=60)
            assert second.stdout == "0\n", second.stderr
        first.stdin.close()
        first.wait()
    with lease_one(NAMES):
        third = subprocess.run([*command, *NAMES], input="", capture_output=True, text=True, timeout=60)
        assert third.stdout == "1\n", third.stderr


def refusal() -> str:
    with pytest.raises(UserError) as caught, lease_one(NAMES):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_cannot_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRNUCPRO_LEASE_DIR", str(folder / "deeper"))
    assert f"{folder}/deeper: No such file or directory; set VIRNUCPRO_LEASE_DIR" in refusal()
    folder.write_text("a file")
    monkeypatch.setenv("VIRNUCPRO_LEASE_DIR", str(folder))
    assert f"{folder}: File exists" in refusal()


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (tmp_path / "precious").write_text("mine")
    (folder / f"{NAMES[0]}.lock").symlink_to(tmp_path / "precious")
    assert f"{NAMES[0]}.lock" in refusal()
    assert (tmp_path / "precious").read_text() == "mine"


def test_auto_precision_on_a_cpu_is_float32() -> None:
    assert resolve_precision("auto", torch.device("cpu")) == "float32"
    assert resolve_precision("bfloat16", torch.device("cpu")) == "bfloat16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_cuda() -> None:
    for wanted in ("auto", "cpu"):
        with lease_device(wanted) as device:
            assert device.type == "cpu"
    with pytest.raises(UserError, match="device is gpu, but torch sees no CUDA device"), lease_device("gpu"):
        pass
