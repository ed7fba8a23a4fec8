"""Memory of devices and models, and the token budget that follows from both: arithmetic, nothing measured.

Loads no torch: the workflow asks for sizes while it is parsed.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from virnucpro.errors import UserError

if TYPE_CHECKING:
    import torch

    from virnucpro.data.cards import ModelCard

CPU_TOKEN_BUDGET = 4096  # larger bins are no faster on a CPU
# Numbers in a bin's activations, tokens x embed_dim, beyond which bins are no faster on a GPU. A product that gives
# half as many is made of 1,024 tiles of 128 x 256 numbers, which the 132 multiprocessors of an H100 take in 8 rounds,
# the last of them almost full. On one, bins of four times as many were 10 % faster at 8M, 3 % at 650M and 1 % at 3B.
GPU_NUMBERS = 2**26
STEP = 1024  # what fits is rounded down to it
MARGIN = 0.1  # share of a device's memory left to the CUDA context, fragmentation and others


class ModelMemory(NamedTuple):
    """What a model takes on a device."""

    model_bytes: int  # its weights
    activation_bytes: int  # the largest set of activations alive at once, for each token of a bin


def estimate_memory(layers: int, embed_dim: int, bytes_per_number: int) -> ModelMemory:
    """Return what a packed ESM-2 forward takes, from its sizes.

    A layer has 12 embed_dim^2 weights. Most activations are alive in the feed-forward part, which is four times as wide
    as the residual stream. Their bytes were counted (tests/encoders/test_memory.py) and rounded up.
    """
    activation_bytes = 25 if bytes_per_number == 4 else 19  # of a token, for each number of its embedding
    return ModelMemory(12 * layers * embed_dim**2 * bytes_per_number, activation_bytes * embed_dim)


def estimate_gated_memory(layers: int, embed_dim: int, feed_forward: int, bytes_per_number: int) -> ModelMemory:
    """Return what a packed DNABERT-S forward takes, from its sizes.

    A layer has 4 embed_dim^2 weights in its attention and 3 embed_dim x feed_forward in its gated feed-forward part, in
    which most activations are alive: both halves of it and the GELU of one, beside the residual stream in FP32 and a
    copy of it. Counted in tests/encoders/test_memory.py.
    """
    weights = layers * embed_dim * (4 * embed_dim + 3 * feed_forward) * bytes_per_number
    activation_bytes = 3 * feed_forward * bytes_per_number + 8 * embed_dim
    return ModelMemory(weights, activation_bytes)


def memory_of_model(card: "ModelCard", bytes_per_number: int) -> ModelMemory:
    """Return what a model's weights and activations take on a device, estimated from its sizes."""
    layers, embed_dim = card["layers"], card["embed_dim"]
    if card["architecture"] == "DNABERT-S":
        return estimate_gated_memory(layers, embed_dim, card["feed_forward"], bytes_per_number)
    return estimate_memory(layers, embed_dim, bytes_per_number)


ESM2_3B_HALF = estimate_memory(layers=36, embed_dim=2560, bytes_per_number=2)


def token_budget(total_bytes: int, memory: ModelMemory, margin: float = MARGIN) -> int:
    """Return the tokens that fit a device with `total_bytes` of memory: whole steps of 1,024, at least one.

    The model and the activations of one bin fill all but the `margin` of it. Total, not free memory decides, so that
    the packing does not depend on what else happens to run.

    Raises:
        UserError: the model leaves no room for a bin of one step.
    """
    room = int(total_bytes * (1 - margin)) - memory.model_bytes
    budget = room // memory.activation_bytes // STEP * STEP
    if budget < STEP:
        raise UserError(
            f"the model ({memory.model_bytes / 1e9:.1f} GB) leaves no room for activations on a device with "
            f"{total_bytes / 1e9:.1f} GB; choose a smaller model, half precision or a larger device"
        )
    return budget


def useful_budget(fits: int, embed_dim: int, on_gpu: bool) -> int:
    """Return the tokens that a bin should hold on a device which so many fit.

    It is a power of two, so that devices of a kind get one number.
    """
    most = GPU_NUMBERS // embed_dim if on_gpu else CPU_TOKEN_BUDGET
    return 1 << min(fits, most).bit_length() - 1


def calculate_token_budget(device_id: int = 0, memory: ModelMemory = ESM2_3B_HALF, margin: float = MARGIN) -> int:
    """Return the tokens that fit CUDA device `device_id`, or 4,096 where there is no CUDA.

    The model is ESM-2 3B in half precision unless its `memory` is given.

    Raises:
        UserError: the model does not fit the device.
    """
    import torch

    if not torch.cuda.is_available():
        return CPU_TOKEN_BUDGET
    return token_budget(torch.cuda.get_device_properties(device_id).total_memory, memory, margin)


def device_memory(device: "torch.device") -> tuple[int, int]:
    """Return the total and the free bytes of a device."""
    if device.type == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info(device)
        return total, free
    return host_memory()


def host_memory(root: Path = Path("/")) -> tuple[int, int]:
    """Return the host's total and free bytes, or those that a container or a job is allowed where these are fewer."""
    limits = [_physical_memory(root), *_cgroup_memory(root)]
    return min(total for total, _ in limits), max(min(free for _, free in limits), 0)


def _physical_memory(root: Path) -> tuple[int, int]:
    with suppress(OSError):
        meminfo = dict(re.findall(r"(\w+): +(\d+) kB", (root / "proc/meminfo").read_text()))
        return int(meminfo["MemTotal"]) * 1024, int(meminfo["MemAvailable"]) * 1024
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # where there is no /proc, as on macOS
    return total, total


def _cgroup_memory(root: Path) -> Iterator[tuple[int, int]]:
    """Yield the limit of every control group that this process is in, and what is free below it.

    Linux has two versions of them, in different folders. A group lies in its parents, whose limits hold too. What a
    container sees as the root of the hierarchy is its own group, whatever path the process is told.
    """
    with suppress(FileNotFoundError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                top, limit, used, cache = "", "memory.max", "memory.current", "inactive_file"
            elif "memory" in controllers.split(","):
                top, limit, used = "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
                cache = "total_inactive_file"
            else:
                continue
            group = root / "sys/fs/cgroup" / top
            for part in ["", *path.strip("/").split("/")]:
                group /= part
                with suppress(OSError, ValueError):  # no such group or limit, or "max"
                    total = int((group / limit).read_text())
                    stat = dict(re.findall(r"(\w+) (\d+)", (group / "memory.stat").read_text()))
                    # Files that were read and may be dropped count as used, but are no need of anybody.
                    yield total, total - int((group / used).read_text()) + int(stat.get(cache, 0))
