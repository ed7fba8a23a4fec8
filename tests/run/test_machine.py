"""GPUs of a machine, and the device of a run."""

import json
import os
import time
from pathlib import Path

import pytest

from virnucpro.run import machine
from virnucpro.run.machine import COUNTED, count_gpus, settle_device

TWO = "echo 'GPU 0: A100 (UUID: x)'; echo '  MIG 1g: y'; echo 'GPU 1: A100 (UUID: z)'"


class Machine:
    """This machine with another driver, and a run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.budget = folder / "out" / "work" / "token_budget.json"
        self.memory = folder / "out" / "work" / ".snakemake" / "virnucpro" / "devices.json"
        self.program = folder / "nvidia-smi"

    def install(self, script: str) -> None:
        """Install a driver, which the next run asks."""
        os.environ.pop(COUNTED, None)
        self.program.write_text(f"#!/bin/sh\n{script}\n")
        self.program.chmod(0o755)

    def settle(self, wanted: str = "auto") -> str:
        return settle_device(wanted, self.budget, self.memory)

    def budget_for(self, device: str) -> None:
        self.budget.parent.mkdir(parents=True, exist_ok=True)
        self.budget.write_text(json.dumps({"device": device}))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(COUNTED, "")  # restored after the test
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    made = Machine(tmp_path)
    made.install("exit 9")  # as without a GPU
    return made


def test_gpus_are_counted(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_gpus() == 0
    here.install(TWO)
    assert count_gpus() == 2
    here.install("exit 9")
    here.program.unlink()
    assert count_gpus() == 0
    for visible, count in {"0,2": 2, "": 0, "-1": 0, "0,-1,1": 1, "GPU-8a,GPU-9b,GPU-7": 3}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert count_gpus() == count


@pytest.mark.parametrize("hang", ["exec sleep 700", "sleep 700 & wait", "trap '' TERM; sleep 700"])
def test_a_driver_that_hangs_is_given_up(here: Machine, monkeypatch: pytest.MonkeyPatch, hang: str) -> None:
    monkeypatch.setattr(machine, "PATIENCE", 0.5)
    here.install(hang)
    start = time.monotonic()
    assert count_gpus() == 0
    assert time.monotonic() - start < 600


def test_a_run_goes_over_to_a_gpu_and_never_back(here: Machine) -> None:
    assert here.settle() == "cpu"
    here.budget_for("cpu")
    assert here.settle() == "cpu"
    here.install(TWO)
    assert here.settle() == "gpu"
    assert here.settle() == "gpu"
    here.install("exit 9")
    assert here.settle() == "gpu"
    here.budget_for("cuda:A100")
    assert here.settle() == "gpu"


def test_what_is_asked_for_is_not_remembered(here: Machine) -> None:
    assert here.settle("gpu") == "gpu"
    assert here.settle() == "cpu"
    assert here.settle("gpu") == "gpu"
    assert here.settle() == "cpu"


def test_a_gpu_of_a_cluster_is_not_seen_from_here(here: Machine) -> None:
    assert here.settle() == "cpu"
    here.budget_for("NVIDIA A100")  # a node's: the job of token_budget found it
    here.install(TWO)
    assert here.settle() == "cpu", "or all would be embedded again since a GPU appeared where none embeds"


def test_a_moved_run_and_a_damaged_memory(here: Machine) -> None:
    here.install(TWO)
    assert here.settle() == "gpu"
    here.install("exit 9")
    (here.folder / "out").rename(here.folder / "moved")
    moved = Machine(here.folder)
    moved.budget, moved.memory = (
        here.folder / "moved" / path.relative_to(here.folder / "out") for path in (here.budget, here.memory)
    )
    assert moved.settle() == "gpu"
    for damage in (b"[1]", b"\xff", b"3", b"{"):
        moved.memory.write_bytes(damage)
        moved.budget_for("cpu")
        assert moved.settle() == "cpu"
    moved.budget.write_text("[]")
    assert moved.settle() == "cpu"
