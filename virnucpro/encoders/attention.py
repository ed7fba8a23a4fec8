"""Attention within each sequence of a packed batch, by whichever backend the machine has.

A backend takes queries, keys and values, [tokens, 3, heads, head_dim], what rotates queries and keys by their
positions, complex64 [tokens, 1, 1, head_dim / 2], and the batch that says where sequences start. It may overwrite the
first and returns the attended values in its precision, [tokens, heads, head_dim].
"""

import math
from collections.abc import Callable
from itertools import groupby
from typing import cast

import torch
import torch.nn.functional as F

from virnucpro.data.collation import PackedBatch

Attention = Callable[[torch.Tensor, torch.Tensor, PackedBatch], torch.Tensor]

HALF = (torch.bfloat16, torch.float16)
SHORT = range(32, 321)  # tokens of a sequence for which plain products are fastest on a CPU
FLASH_CAPABILITY = (8, 0)  # what FlashAttention-2, and torch's varlen attention that is made of it, need


def flash_attention(qkv: torch.Tensor, rotation: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """FlashAttention-2 over cumulative lengths (Dao 2023), from the flash-attn package; CUDA, half precision only."""
    from flash_attn import flash_attn_varlen_func

    q, k, v = rotate(qkv, rotation).unbind(1)
    cu_seqlens, longest = batch.cu_seqlens, batch.max_seqlen
    return cast(torch.Tensor, flash_attn_varlen_func(q, k, v, cu_seqlens, cu_seqlens, longest, longest))


def varlen_attention(qkv: torch.Tensor, rotation: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """torch's own variable-length attention; CUDA, half precision only."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = rotate(qkv, rotation).unbind(1)
    cu_seqlens, longest = batch.cu_seqlens, batch.max_seqlen
    # It returns a tuple only where auxiliary outputs are asked for.
    return cast(torch.Tensor, varlen_attn(q, k, v, cu_seqlens, cu_seqlens, longest, longest))


def sdpa_attention(qkv: torch.Tensor, rotation: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """torch's scaled_dot_product_attention over neighbours of equal length; any device and precision.

    On a CPU all but the shortest sequences are taken one by one, so that they stay in the cache, and in FP32: attention
    is no faster in half precision there, and less exact.
    """
    attended = torch.empty_like(qkv[:, 0])
    start = 0
    for length, run in groupby(batch.lengths):
        count = len(list(run))
        together = 1 if qkv.is_cpu and length >= SHORT.start else count
        for _ in range(count // together):
            tokens = slice(start, start + together * length)
            part = rotate(qkv[tokens].float() if qkv.is_cpu else qkv[tokens], rotation[tokens])
            q, k, v = part.view(together, length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
            into = attended[tokens].view(together, length, *qkv.shape[2:]).transpose(1, 2)
            if qkv.is_cpu and length in SHORT:
                attend_by_products(q[0], k[0], v[0], into[0])
            else:
                into.copy_(F.scaled_dot_product_attention(q, k, v))
            start = tokens.stop
    return attended


def attend_by_products(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, into: torch.Tensor) -> None:
    """Write the attended values of a sequence to `into`, all [heads, length, head_dim].

    On a CPU torch's fused kernel is slower on short sequences, its products being too small, and so is its softmax:
    powers of two are faster than those of e, and there are fewer attended values than scores to divide by the sum.
    """
    scores = q.new_empty(q.shape[0], q.shape[1], q.shape[1])
    scale = math.log2(math.e) * q.shape[-1] ** -0.5
    torch.baddbmm(scores, q, k.transpose(1, 2), beta=0, alpha=scale, out=scores)
    scores.sub_(scores.amax(-1, keepdim=True)).exp2_()
    torch.div(scores @ v, scores.sum(-1, keepdim=True), out=into)


def rotate(qkv: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Turn queries and keys in place, in FP32 whatever their precision, and return them with the values."""
    qk = qkv[:, :2]
    rotated = qk.float()
    torch.view_as_complex(rotated.view(*rotated.shape[:-1], -1, 2)).mul_(rotation)
    if rotated.dtype != qk.dtype:
        qk.copy_(rotated)
    return qkv


def choose_attention(device: torch.device, dtype: torch.dtype) -> Attention:
    """Return the fastest backend there is for a device and a precision."""
    if device.type != "cuda" or dtype not in HALF or torch.cuda.get_device_capability(device) < FLASH_CAPABILITY:
        return sdpa_attention
    try:
        import flash_attn  # noqa: F401 (found is not enough: it may be built for another torch)
    except ImportError:
        return varlen_attention
    return flash_attention
