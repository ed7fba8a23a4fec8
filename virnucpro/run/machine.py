"""What this machine offers to a run."""

import os
import subprocess
from contextlib import suppress


def count_gpus() -> int:
    """Return how many GPUs there are to use: those of CUDA_VISIBLE_DEVICES, or all that the driver lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = visible.split(",")
        return next((number for number, name in enumerate(names) if name.strip() in ("", "-1")), len(names))
    with suppress(OSError):  # no driver
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)  # noqa: S607
        return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return 0


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
