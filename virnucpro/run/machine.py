"""GPUs and cores of this machine."""

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from virnucpro.data.files import write_text
from virnucpro.run.lock import TOKEN, read_object

PATIENCE = 10  # seconds to wait for the GPU driver
COUNTED = "VIRNUCPRO_GPUS"  # environment variable with the driver's answer, which child processes inherit


def count_gpus() -> int:
    """Return the number of usable GPUs, by CUDA_VISIBLE_DEVICES or else by the driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = visible.split(",")
        return next((number for number, name in enumerate(names) if name.strip() in ("", "-1")), len(names))
    if not os.environ.get(COUNTED):  # a run waits for a driver that hangs only once
        listed = ""
        with suppress(OSError, subprocess.TimeoutExpired):  # no driver, or one that hangs
            command = ["nvidia-smi", "--list-gpus"]
            listed = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE).stdout
        os.environ[COUNTED] = str(sum(line.startswith("GPU ") for line in listed.splitlines()))
    return int(os.environ[COUNTED])


def count_cores() -> int:
    """Return the number of cores that this process may use, by its affinity and the CPU quota of its container."""
    from joblib import cpu_count  # here: it takes 0.1 s to load

    return int(cpu_count())


def settle_device(wanted: str, budget: Path, memory: Path) -> str:
    """Return the device of a run's token budget, `cpu` or `gpu`.

    A run that began on a CPU moves to a GPU if there is one now. It never moves back to a CPU, so that finished results
    stay valid when only calls or the page are made again.

    Args:
        wanted: auto, gpu or cpu.
        budget: File of stage token-budget in an earlier run; may be missing.
        memory: JSON file with the decisions of earlier runs.
    """
    if wanted != "auto":
        return wanted
    decided = read_object(memory)
    name = os.path.relpath(budget, memory.parents[2]) if memory.is_absolute() else str(budget)
    before: str | None = decided.get(name)
    is_job = TOKEN in os.environ  # a SLURM job sees its own GPU; the decision at the run's start holds
    is_elsewhere = read_object(budget).get("device") != "cpu"  # only a cluster's nodes may have GPUs
    if before == "gpu" or (before and (is_job or is_elsewhere)):
        return before
    now = "gpu" if count_gpus() else "cpu"
    if now != before:
        with suppress(PermissionError):  # a dry run in the folder of another user
            write_text(memory, json.dumps(decided | {name: now}))
    return now
