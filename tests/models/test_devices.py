"""Leases: real processes that want the same few things."""

import os
import signal
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from virnucpro.errors import UserError
from virnucpro.models.devices import lease_device, lease_one, resolve_precision

HOLDER = """
import logging, sys, time
from virnucpro.models.devices import lease_one
logging.basicConfig(format="%(message)s", level=logging.INFO)
with lease_one(sys.argv[2].split(","), poll_seconds=0.05) as index:
    print(index, time.time(), flush=True)
    time.sleep(float(sys.argv[1]))
    print(time.time(), flush=True)
"""


@pytest.fixture
def temp_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # which it read once
    return tmp_path


def holder(seconds: float, names: str = "gpu-a,gpu-b", folder: Path | None = None) -> subprocess.Popen[str]:
    environment = os.environ | ({"TMPDIR": str(folder)} if folder else {})
    command = [sys.executable, "-c", HOLDER, str(seconds), names]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_jobs_lease_different_devices_and_queue_when_there_are_none(temp_dir: Path) -> None:
    jobs = [holder(1.0, folder=temp_dir) for _ in range(5)]
    held: dict[str, list[tuple[float, float]]] = {}
    logs = ""
    for job in jobs:
        out, err = job.communicate(timeout=60)
        index, since, until = out.split()
        held.setdefault(index, []).append((float(since), float(until)))
        logs += err
    assert set(held) == {"0", "1"}
    for spans in held.values():
        spans.sort()
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    assert logs.count("all 2 devices are taken: waiting for one") == 3


def test_a_killed_job_releases_its_device(temp_dir: Path) -> None:
    job = holder(600, "gpu-a", temp_dir)
    assert job.stdout is not None
    assert job.stdout.readline().startswith("0")
    job.send_signal(signal.SIGKILL)
    job.wait()
    follower = holder(0, "gpu-a", temp_dir)
    out, err = follower.communicate(timeout=20)
    assert out.startswith("0")
    assert "taken" not in err


def test_a_lease_ends_with_its_block(temp_dir: Path) -> None:
    for _ in range(3):
        with lease_one(["gpu-a"]) as index:
            assert index == 0


OTHER_USER = """
import os
from virnucpro.models.devices import lease_one
os.setgid(65534)
os.setuid(65534)
with lease_one(["gpu-a", "gpu-b"]) as index:
    print(index)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as two users")
def test_two_users_share_the_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)  # as /tmp is
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        with lease_one(["gpu-a"]):
            other = subprocess.run([sys.executable, "-c", OTHER_USER], capture_output=True, text=True, timeout=60)
        assert other.stdout == "1\n", other.stderr


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
