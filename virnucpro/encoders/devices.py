"""Which device a job runs on, and in which precision."""

import errno
import logging
import os
import socket
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

    A lease is a name among Linux's abstract sockets: all users of the machine share them, whatever their TMPDIR and
    rights, and the kernel releases it when its holder ends, even by SIGKILL.
    """
    warned = False
    while True:
        for index, name in enumerate(names):
            with socket.socket(socket.AF_UNIX) as lease:
                try:
                    lease.bind(f"\0virnucpro/{name}")
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                    continue
                yield index
                return
        if not warned:
            _warn_once(f"all {len(names)} devices are taken: GPU jobs wait for one another")
            warned = True
        time.sleep(poll_seconds)


def _warn_once(text: str) -> None:
    """Log a warning, unless a job of the same run has; the workflow says by which file its jobs know."""
    warned = os.environ.get("VIRNUCPRO_WARNED")
    with suppress(FileExistsError):
        if warned:
            Path(warned).touch(exist_ok=False)
        logger.warning(text)
