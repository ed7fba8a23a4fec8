"""Memory of devices and models, and the token budget. Sizes are computed, not measured.

This module loads no torch: the workflow needs sizes while it is parsed.
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

# Larger bins are no faster on a CPU: layers of the width of 650M (3B) were 16 (11) % faster with 1,024 tokens.
# A killed job embeds its last bin again, so bins of a large model have fewer tokens.
CPU_TOKEN_BUDGET = 4096
CPU_OPERATIONS = 2e12  # of a bin, if the longest sequence needs no more: 80 s of a core at 25 GFLOP/s
# Largest useful tokens x embed_dim of a bin on a GPU: 2^26 numbers keep the 132 multiprocessors of an H100 busy, in
# tiles of 128 x 256. On an H100, bins four times as large were 10 % faster with 8M, 3 % with 650M and 1 % with 3B.
GPU_NUMBERS = 2**26
STEP = 1024  # token budgets are rounded down to a multiple of this
MARGIN = 0.1  # share of a device's memory left for the CUDA context, fragmentation and other processes


class ModelMemory(NamedTuple):
    """Memory that a model needs on a device."""

    model_bytes: int  # weights
    activation_bytes: int  # largest set of activations held at once, per token of a bin


def estimate_memory(layers: int, embed_dim: int, bytes_per_number: int) -> ModelMemory:
    """Return the memory of a packed ESM-2 forward pass, estimated from its sizes.

    A layer has 12 embed_dim^2 weights. Activations are largest in the feed-forward part, which is four times as wide as
    the residual stream. Their bytes were counted (tests/encoders/test_memory.py) and rounded up.
    """
    activation_bytes = 25 if bytes_per_number == 4 else 19  # per token and number of its embedding
    return ModelMemory(12 * layers * embed_dim**2 * bytes_per_number, activation_bytes * embed_dim)


def estimate_gated_memory(layers: int, embed_dim: int, feed_forward: int, bytes_per_number: int) -> ModelMemory:
    """Return the memory of a packed DNABERT-S forward pass, estimated from its sizes.

    A layer has 4 embed_dim^2 weights in its attention and 3 embed_dim x feed_forward in its gated feed-forward part.
    Activations are largest there: both halves, the GELU of one half, and two copies of the residual stream in FP32.
    They were counted in tests/encoders/test_memory.py.
    """
    weights = layers * embed_dim * (4 * embed_dim + 3 * feed_forward) * bytes_per_number
    activation_bytes = 3 * feed_forward * bytes_per_number + 8 * embed_dim
    return ModelMemory(weights, activation_bytes)


def estimate_esmc_memory(layers: int, embed_dim: int, feed_forward: int, bytes_per_number: int) -> ModelMemory:
    """Return the memory of a packed ESM C forward pass, estimated from its sizes.

    Weights are as in DNABERT-S. Activations are largest in the feed-forward part: its input, both halves, their
    product, the residual stream in FP32, and the rotation of a head's 64 numbers. They were counted in
    tests/encoders/test_memory.py and rounded up.
    """
    gated = estimate_gated_memory(layers, embed_dim, feed_forward, bytes_per_number)
    activation_bytes = (3 * feed_forward + embed_dim) * bytes_per_number + 4 * embed_dim + 512
    return gated._replace(activation_bytes=activation_bytes)


def memory_of_model(card: "ModelCard", bytes_per_number: int) -> ModelMemory:
    """Return the memory of a model's weights and activations, estimated from its sizes."""
    layers, embed_dim = card["layers"], card["embed_dim"]
    if card["architecture"] == "ESM-2":
        return estimate_memory(layers, embed_dim, bytes_per_number)
    estimate = estimate_esmc_memory if card["architecture"] == "ESM C" else estimate_gated_memory
    return estimate(layers, embed_dim, card["feed_forward"], bytes_per_number)


ESM2_3B_HALF = estimate_memory(layers=36, embed_dim=2560, bytes_per_number=2)


def token_budget(total_bytes: int, memory: ModelMemory, margin: float = MARGIN) -> int:
    """Return the tokens that fit a device with `total_bytes` of memory, a multiple of 1,024.

    The model and the activations of one bin fill the memory except for the `margin`. Total memory is used, not free
    memory, so that the packing does not depend on other processes.

    Raises:
        UserError: The model leaves no room for a bin of 1,024 tokens.
    """
    room = int(total_bytes * (1 - margin)) - memory.model_bytes
    budget = room // memory.activation_bytes // STEP * STEP
    if budget < STEP:
        raise UserError(
            f"the model ({memory.model_bytes / 1e9:.1f} GB) leaves no room for activations on a device with "
            f"{total_bytes / 1e9:.1f} GB; choose a smaller model, half precision or a larger device"
        )
    return budget


def useful_budget(fits: int, embed_dim: int, weights: int, on_gpu: bool) -> int:
    """Return the tokens that a bin should hold on a device with room for `fits` tokens.

    The result is a power of two, so that similar devices get the same number. `weights` is the number of the model's
    weights; a token takes two operations for each.
    """
    on_cpu = min(CPU_TOKEN_BUDGET, max(STEP, int(CPU_OPERATIONS / (2 * weights))))
    most = GPU_NUMBERS // embed_dim if on_gpu else on_cpu
    return 1 << min(fits, most).bit_length() - 1


def calculate_token_budget(device_id: int = 0, memory: ModelMemory = ESM2_3B_HALF, margin: float = MARGIN) -> int:
    """Return the tokens that fit CUDA device `device_id`, or 4,096 without CUDA.

    The model is ESM-2 3B in half precision unless its `memory` is given.

    Raises:
        UserError: The model does not fit the device.

    Examples:
        >>> small = estimate_memory(layers=6, embed_dim=320, bytes_per_number=4)
        >>> calculate_token_budget(memory=small) >= 4096  # 4,096 without CUDA, more with it
        True
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
    """Return the host's total and free bytes, or the limits of a container or a job if these are lower."""
    limits = [_physical_memory(root), *_cgroup_memory(root)]
    return min(total for total, _ in limits), max(min(free for _, free in limits), 0)


def _physical_memory(root: Path) -> tuple[int, int]:
    with suppress(OSError):
        meminfo = dict(re.findall(r"(\w+): +(\d+) kB", (root / "proc/meminfo").read_text()))
        return int(meminfo["MemTotal"]) * 1024, int(meminfo["MemAvailable"]) * 1024
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # where there is no /proc, as on macOS
    return total, total


def _cgroup_memory(root: Path) -> Iterator[tuple[int, int]]:
    """Yield the memory limit of every control group that this process is in, and the free memory below the limit.

    Linux has two versions of control groups, in different folders. The limits of all parent groups hold too. Inside a
    container the root of the hierarchy is the container's own group, whichever path /proc gives.
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
                    # Cached files count as used, but the kernel can drop them.
                    yield total, total - int((group / used).read_text()) + int(stat.get(cache, 0))
