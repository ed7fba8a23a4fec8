"""Which device a job runs on, and in which precision."""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return the precision that `auto` stands for: FP32 on a CPU, BF16 on a card that has it, FP16 on an older one."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"


def describe_device(device: torch.device) -> str:
    """Return the name of a CUDA device, or cpu."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@contextmanager
def lease_device(wanted: str = "auto") -> Iterator[torch.device]:
    """Yield a CUDA device that no other job on this machine holds, or the CPU.

    Waits while all visible devices are held. CUDA_VISIBLE_DEVICES, which a scheduler sets too, is respected.

    Args:
        wanted: `auto` is the CPU where there is no CUDA; `gpu` is an error there; `cpu` is the CPU anywhere.

    Raises:
        UserError: a GPU is wanted and there is none.
    """
    visible = 0 if wanted == "cpu" else torch.cuda.device_count()
    if not visible:
        if wanted == "gpu":
            raise UserError("device is gpu, but torch sees no CUDA device here; set it to auto to use the CPU")
        yield torch.device("cpu")
        return
    # By UUID: an index means another card under another CUDA_VISIBLE_DEVICES.
    uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in range(visible)]
    with lease_one(uuids) as index, torch.cuda.device(index):
        yield torch.device("cuda", index)


@contextmanager
def lease_one(names: Sequence[str], poll_seconds: float = 1.0) -> Iterator[int]:
    """Hold one of several named things and yield its index; wait while other processes hold them all.

    A lease is a lock on a file that all users of the machine share; the kernel releases it when its holder ends, even
    by SIGKILL.
    """
    folder = Path(tempfile.gettempdir()) / "virnucpro-devices"
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)  # every user's jobs add locks, and none can take away another's
    warned = False
    while True:
        for index, name in enumerate(names):
            lock = _open_lock(folder / f"{name}.lock")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            try:
                yield index
            finally:
                os.close(lock)
            return
        if not warned:
            logger.warning("all %d devices are taken: waiting for one", len(names))
            warned = True
        time.sleep(poll_seconds)


def _open_lock(path: Path) -> int:
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o644))
    return os.open(path, os.O_RDONLY)  # a lock needs no right to write, so it works on another user's file
