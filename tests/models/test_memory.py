"""The estimate of a forward's memory, against the bytes that are really alive at its peak."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from virnucpro.data import VarlenCollator
from virnucpro.data.budget import estimate_memory
from virnucpro.models.attention import sdpa_attention
from virnucpro.models.esm2 import ESM2, ESM2Config
from virnucpro.models.linear import Linear


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, from their making to their end."""

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("embed_dim", [320, 1280])
def test_activations_of_a_token(embed_dim: int, dtype: torch.dtype) -> None:
    model = ESM2(ESM2Config(layers=2, embed_dim=embed_dim, heads=20), sdpa_attention).requires_grad_(False)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.to(dtype)
        if isinstance(module, Linear):
            module.pack()
    batch = VarlenCollator()([{"id": str(number), "sequence": "A" * 126} for number in range(8)])
    with torch.inference_mode(), LiveBytes() as live:
        model(batch)
    measured = live.peak / len(batch.input_ids)
    estimated = estimate_memory(2, embed_dim, dtype.itemsize).activation_bytes
    assert measured <= estimated <= 1.05 * measured
