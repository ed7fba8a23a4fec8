"""Memory: estimate and peak of a forward pass, memory to load a model, and memory of the host."""

import json
import os
import re
import struct
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import esm
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.encoders.checkpoints import State, save, to_hugging_face
from virnucpro.data import VarlenCollator
from virnucpro.encoders.alphabet import ESM2Tokenizer
from virnucpro.encoders.attention import Attention, padded_attention, sdpa_attention
from virnucpro.encoders.esm import ESM, ESMConfig
from virnucpro.encoders.linear import Linear
from virnucpro.encoders.memory import host_memory


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations allocate, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, operation: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.sizes:
                storage = tensor.untyped_storage()
                self.sizes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.sizes.pop, storage._cdata)
        self.peak = max(self.peak, sum(self.sizes.values()))
        return made


def peak_bytes(config: ESMConfig, dtype: torch.dtype, attention: Attention, packed: bool, lengths: range) -> float:
    """Return the peak bytes per token of a forward pass over proteins of some lengths."""
    model = ESM(config, attention).requires_grad_(False)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.to(dtype)
        if isinstance(module, Linear) and packed:
            module.pack()
    batch = VarlenCollator(ESM2Tokenizer())([{"id": str(length), "sequence": "A" * length} for length in lengths])
    with torch.inference_mode(), LiveBytes() as live:
        model(batch)
    return live.peak / len(batch.input_ids)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "config",
    [ESMConfig(2, 320, 20), ESMConfig(2, 1280, 20), ESMConfig(2, 320, 5, "ESM C"), ESMConfig(2, 960, 15, "ESM C")],
)
def test_activations_of_a_token(config: ESMConfig, dtype: torch.dtype, packed: bool) -> None:
    measured = peak_bytes(config, dtype, sdpa_attention, packed, range(500, 508))
    estimated = config.memory(dtype.itemsize).activation_bytes
    assert measured <= estimated <= 1.05 * measured


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("config", [ESMConfig(2, 320, 20), ESMConfig(2, 320, 5, "ESM C")])
def test_padding_within_the_attention_takes_no_more(config: ESMConfig, dtype: torch.dtype) -> None:
    measured = peak_bytes(config, dtype, padded_attention, False, range(480, 520))
    assert measured <= config.memory(dtype.itemsize).activation_bytes


# Memory, measured in a separate process.

LOAD = """
import resource, sys, torch
from virnucpro.errors import UserError
from virnucpro.encoders.checkpoint import load_encoder
def load():
    return load_encoder(sys.argv[1], torch.device("cpu"), torch.float32)
def anonymous():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]),) * 2)
try:
    load()  # what torch itself takes at its first use is not the model's
    before = anonymous()
    model = load()
    print(anonymous() - before)
except UserError as error:
    print(error)
"""


def load_elsewhere(path: Path) -> str:
    """Load a mapped file with at most 6 GB more memory, and return the bytes of the model, or the error."""
    limit = path.stat().st_size + (6 << 30)
    done = subprocess.run([sys.executable, "-c", LOAD, path, str(limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("share", "reason"),
    [(0.7, r"the weights take \d+\.\d GB in float32, and cpu has \d+\.\d GB free"), (2, "this machine's memory")],
)
def test_a_model_that_does_not_fit(tmp_path: Path, share: float, reason: str) -> None:
    """Layers as wide as 15B's, in half precision, as many as fill a share of this machine's memory; the file is a hole.

    A file larger than the memory cannot even be mapped.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    layers = int(share * memory / (12 * 5120**2 * 2))
    header: State = {}
    end = 0
    for key, value in hugging_face_shapes(layers, embed_dim=5120, heads=40).items():
        start, end = end, end + 2 * value.numel()
        header[key] = {"dtype": "F16", "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + end)
    assert re.search(reason, load_elsewhere(path))


def hugging_face_shapes(layers: int, embed_dim: int, heads: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        state = esm.ESM2(layers, embed_dim, heads).state_dict()
    return {to_hugging_face(key): value for key, value in state.items() if "head" not in key}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_are_held_once(tmp_path: Path, suffix: str) -> None:
    """Weights are converted for the kernels of a CPU one by one; pages of the file are not memory of the process."""
    state = {key: torch.ones(value.shape) for key, value in hugging_face_shapes(8, 640, 20).items()}
    path = save(tmp_path / f"esm2{suffix}", state)
    assert float(load_elsewhere(path)) < 1.4 * path.stat().st_size


# The host's memory, by files of Linux.

GB = 1_000_000_000


def write_files(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A machine with 64 GB, 48 of them free, and no control groups."""
    return write_files(tmp_path, {"proc/meminfo": "MemTotal: 64000000 kB\nMemFree: 1 kB\nMemAvailable: 48000000 kB\n"})


def group(folder: str, limit: object, used: int, cache: int) -> dict[str, str]:
    """The files of a group of version 2."""
    stat = f"anon 7\ninactive_file {cache}\nactive_file 9\n"
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": stat,
    }


def group_of_version_1(folder: str, limit: int, used: int, cache: int) -> dict[str, str]:
    stat = f"inactive_file 1\ntotal_inactive_file {cache}\n"
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": stat,
    }


def test_the_host_has_what_it_has(host: Path) -> None:
    assert host_memory(host) == (64 * 1_024_000_000, 48 * 1_024_000_000)
    total, free = host_memory()
    assert 0 < free <= total <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_container_has_its_limit(host: Path) -> None:
    """Its own group looks like the root of the hierarchy; files that it has read count as used, but are free."""
    write_files(host, {"proc/self/cgroup": "0::/\n"} | group("sys/fs/cgroup", 8 * GB, used=5 * GB, cache=2 * GB))
    assert host_memory(host) == (8 * GB, 5 * GB)


def test_a_job_has_the_smallest_limit_of_its_group_and_those_around_it(host: Path) -> None:
    job, step = "sys/fs/cgroup/system.slice/slurmd/job_7", "sys/fs/cgroup/system.slice/slurmd/job_7/step_0"
    write_files(host, {"proc/self/cgroup": "0::/system.slice/slurmd/job_7/step_0/task_0\n"})
    write_files(host, group(job, 16 * GB, used=9 * GB, cache=0) | group(step, 20 * GB, used=9 * GB, cache=GB))
    write_files(host, group(f"{step}/task_0", "max", used=9 * GB, cache=GB))
    write_files(host, group("sys/fs/cgroup/other", GB, used=0, cache=0))
    assert host_memory(host) == (16 * GB, 7 * GB)
    write_files(host, group(job, 16 * GB, used=17 * GB, cache=0))
    assert host_memory(host) == (16 * GB, 0)


@pytest.mark.parametrize("controllers", ["memory", "cpu,memory"])
@pytest.mark.parametrize("seen", [True, False], ids=["own path", "the host's path"])
def test_control_groups_of_version_1(host: Path, controllers: str, seen: bool) -> None:
    folder = "sys/fs/cgroup/memory" + ("/docker/4f" if seen else "")
    unlimited = group_of_version_1("sys/fs/cgroup/memory", 2**63 - 4096, used=30 * GB, cache=0)
    text = f"7:cpuset:/docker/4f\n4:{controllers}:/docker/4f\n0::/\n"
    write_files(host, {"proc/self/cgroup": text} | unlimited | group_of_version_1(folder, 8 * GB, 5 * GB, 2 * GB))
    assert host_memory(host) == (8 * GB, 5 * GB)
