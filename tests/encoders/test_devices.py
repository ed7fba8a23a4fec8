"""Leases: real processes that want the same few things."""

import errno
import os
import signal
import subprocess
import sys
import uuid
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


@pytest.fixture
def names() -> list[str]:
    """Two devices that no other test of this machine knows."""
    return [f"{uuid.uuid4()}-{letter}" for letter in "ab"]


def holder(seconds: float, names: list[str], warned: Path | None = None) -> subprocess.Popen[str]:
    environment = os.environ | ({"VIRNUCPRO_WARNED": str(warned)} if warned else {})
    command = [sys.executable, "-c", HOLDER, str(seconds), ",".join(names)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_jobs_lease_different_devices_and_queue_when_there_are_none(names: list[str], tmp_path: Path) -> None:
    jobs = [holder(1.0, names, tmp_path / "warned") for _ in range(5)]
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


def test_a_killed_job_releases_its_device(names: list[str]) -> None:
    job = holder(600, names[:1])
    assert job.stdout is not None
    assert job.stdout.readline().startswith("0")
    waiting = holder(0, names[:1])
    assert waiting.stderr is not None
    assert "all 1 devices are taken" in waiting.stderr.readline(), "it was held when the blow fell"
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert waiting.communicate(timeout=60)[0].startswith("0")


def test_a_lease_ends_with_its_block_and_with_an_error_in_it(names: list[str]) -> None:
    for _ in range(2):
        with suppress(OSError), lease_one(names) as index:
            assert index == 0
            raise OSError(errno.EADDRINUSE, "not of the lease")
    with lease_one(names) as one, lease_one(names) as other:
        assert (one, other) == (0, 1)


OTHER_USER = """
import os, sys
from virnucpro.encoders.devices import lease_one
os.setgid(65534)
os.setuid(65534)
os.environ["TMPDIR"] = "/nowhere"
with lease_one(sys.argv[1:]) as index:
    print(index)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as two users")
def test_two_users_share_the_leases(names: list[str]) -> None:
    with lease_one(names):
        command = [sys.executable, "-c", OTHER_USER, *names]
        other = subprocess.run(command, capture_output=True, text=True, timeout=60)
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
