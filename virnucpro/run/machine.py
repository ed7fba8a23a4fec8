"""What this machine offers to a run."""

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from virnucpro.data.files import write_text
from virnucpro.run.lock import TOKEN, read_object

PATIENCE = 10  # seconds for the driver of the GPUs to answer


def count_gpus() -> int:
    """Return how many GPUs there are to use: those of CUDA_VISIBLE_DEVICES, or all that the driver lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = visible.split(",")
        return next((number for number, name in enumerate(names) if name.strip() in ("", "-1")), len(names))
    with suppress(OSError, subprocess.TimeoutExpired):  # no driver, or one that hangs
        command = ["nvidia-smi", "--list-gpus"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return 0


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def settle_device(wanted: str, budget: Path, memory: Path) -> str:
    """Return the kind of device for which a run makes its token budget, `cpu` or `gpu`.

    A run that was begun on a CPU goes over to a GPU where there is one. Never back: its results stay as they are where
    only calls or the page are made anew.

    Args:
        wanted: auto, gpu or cpu.
        budget: what the token-budget stage wrote in an earlier run, if there was one.
        memory: JSON file with the decisions of earlier runs.
    """
    if wanted != "auto":
        return wanted
    decided = read_object(memory)
    name = os.path.relpath(budget, memory.parents[2]) if memory.is_absolute() else str(budget)
    before: str | None = decided.get(name)
    is_job = TOKEN in os.environ  # SLURM shows a job its GPU: what the run decided at its start stays
    is_elsewhere = read_object(budget).get("device") != "cpu"  # a cluster's GPU is not seen where the run starts
    if before == "gpu" or (before and (is_job or is_elsewhere)):
        return before
    now = "gpu" if count_gpus() else "cpu"
    if now != before:
        with suppress(PermissionError):  # a dry run in the folder of another user
            write_text(memory, json.dumps(decided | {name: now}))
    return now
