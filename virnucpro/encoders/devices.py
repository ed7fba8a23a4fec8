"""Device and precision of a job."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import joblib
import torch

from virnucpro.data.files import lock_file
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

LEASE_FOLDER = "/dev/shm/virnucpro"  # noqa: S108 (every user of a machine must find the same)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> str:
    """Replace `auto` by FP32 on a CPU, BF16 on a GPU that has it, and FP16 on an older GPU."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"


def describe_device(device: torch.device) -> str:
    """Return the name of a CUDA device, or cpu."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def count_gpus(wanted: str) -> int:
    """Return the number of visible CUDA devices, 0 for `cpu`; `gpu` without a device is a UserError."""
    visible = 0 if wanted == "cpu" else torch.cuda.device_count()
    if wanted == "gpu" and not visible:
        raise UserError("device is gpu, but torch sees no CUDA device here; set it to auto to use the CPU")
    return visible


@contextmanager
def lease_device(wanted: str = "auto") -> Iterator[torch.device]:
    """Yield a CUDA device that no other job on this machine holds, or the CPU.

    It waits while other jobs hold all visible devices. CUDA_VISIBLE_DEVICES limits the devices. Without CUDA, `auto`
    is the CPU and `gpu` is an error.

    Raises:
        UserError: `gpu` without a GPU, or the lease files cannot be written.
    """
    visible = count_gpus(wanted)
    if not visible:
        # torch does not see the quota of a container
        torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count()))
        yield torch.device("cpu")
        return
    # Devices are named by UUID: an index depends on CUDA_VISIBLE_DEVICES.
    uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in range(visible)]
    with lease_one(uuids) as index, torch.cuda.device(index):
        yield torch.device("cuda", index)


@contextmanager
def lease_one(names: Sequence[str], poll_seconds: float = 1.0) -> Iterator[int]:
    """Lease one of several named devices and yield its index; wait while other processes hold all of them.

    A lease is a lock on a file in a folder that all users of the machine share. The kernel releases it when its holder
    ends, even by SIGKILL. The files are kept: if a locked file were deleted, two processes could lease one device.

    Raises:
        UserError: The folder or a file in it cannot be used.
    """
    folder = Path(os.environ.get("VIRNUCPRO_LEASE_DIR") or LEASE_FOLDER)
    warned = False
    while True:
        for index, name in enumerate(names):
            if (lease := _lock(folder, f"{name}.lock")) is not None:
                try:
                    yield index
                finally:
                    os.close(lease)
                return
        if not warned:
            _warn_once(f"all {len(names)} devices are taken (locks in {folder}): GPU jobs wait for one another")
            warned = True
        time.sleep(poll_seconds)


def _lock(folder: Path, name: str) -> int | None:
    """Return a locked file, or None if another process holds the lock.

    All users of the machine can open the file and add files to the folder, as in /tmp.
    """
    path = folder / name
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    mask = os.umask(0)
    try:
        folder.mkdir(mode=0o1777, exist_ok=True)
        try:
            file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            # Without O_CREAT: Linux refuses it for another user's file in such a folder (fs.protected_regular).
            file = os.open(path, flags)
        try:
            lock_file(file)
        except OSError:
            os.close(file)
            raise
    except BlockingIOError:
        return None
    except OSError as error:
        raise UserError(
            f"GPU leases: {error.filename or path}: {error.strerror}; set VIRNUCPRO_LEASE_DIR to another folder, the "
            "same for all users of these GPUs"
        ) from None
    finally:
        os.umask(mask)
    return file


def _warn_once(text: str) -> None:
    """Log a warning once per run: the jobs of a run share the file that VIRNUCPRO_WARNED names."""
    warned = os.environ.get("VIRNUCPRO_WARNED")
    with suppress(FileExistsError):
        if warned:
            Path(warned).touch(exist_ok=False)
        logger.warning(text)
