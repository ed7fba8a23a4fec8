"""How much memory a device has; of the host, what this process may use of it."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

ROOT = Path("/")


def device_memory(device: torch.device) -> tuple[int, int]:
    """Return the total and the free bytes of a device."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total, free
    return host_memory()


def host_memory(root: Path = ROOT) -> tuple[int, int]:
    """Return the host's total and free bytes, or those that a container or a job is allowed where these are fewer.

    Args:
        root: the folder with `proc` and `sys`.
    """
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
