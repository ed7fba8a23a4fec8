"""Attention within each sequence of a packed batch, by whichever backend the machine has.

A backend takes queries, keys and values, each [tokens, heads, head_dim], and the batch that says where sequences start,
and returns the attended values in their precision, [tokens, heads, head_dim].
"""

import math
from collections.abc import Callable
from itertools import groupby
from typing import cast

import torch
import torch.nn.functional as F

from virnucpro.data.collation import PackedBatch

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, PackedBatch], torch.Tensor]

HALF = (torch.bfloat16, torch.float16)
SHORT = range(32, 321)  # tokens of a sequence to which a CPU attends by itself
FLASH_CAPABILITY = (8, 0)  # what FlashAttention-2, and torch's varlen attention that is made of it, need


def flash_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """FlashAttention-2 over cumulative lengths (Dao 2023), from the flash-attn package; CUDA, half precision only."""
    from flash_attn import flash_attn_varlen_func

    cu_seqlens, longest = batch.cu_seqlens, batch.max_seqlen
    return cast(torch.Tensor, flash_attn_varlen_func(q, k, v, cu_seqlens, cu_seqlens, longest, longest))


def varlen_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """torch's own variable-length attention; CUDA, half precision only."""
    from torch.nn.attention.varlen import varlen_attn

    cu_seqlens, longest = batch.cu_seqlens, batch.max_seqlen
    # It returns a tuple only where auxiliary outputs are asked for.
    return cast(torch.Tensor, varlen_attn(q, k, v, cu_seqlens, cu_seqlens, longest, longest))


def sdpa_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """torch's scaled_dot_product_attention over neighbours of equal length; any device and precision."""
    attended = torch.empty_like(v)
    start = 0
    for length, run in groupby(batch.lengths):
        count = len(list(run))
        tokens = slice(start, start + count * length)
        q_, k_, v_ = (t[tokens].view(count, length, *t.shape[1:]).transpose(1, 2) for t in (q, k, v))
        if q.is_cpu and length in SHORT:
            into = attended[tokens].view(count, length, *v.shape[1:]).transpose(1, 2)
            attend_one_by_one(q_, k_, v_, into)
        else:
            attended[tokens] = F.scaled_dot_product_attention(q_, k_, v_).transpose(1, 2).flatten(0, 1)
        start = tokens.stop
    return attended


def attend_one_by_one(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, into: torch.Tensor) -> None:
    """Write attended values to `into`, [sequences, heads, length, head_dim], with the scores of one sequence at a time.

    On a CPU torch's fused kernel is slower on short sequences, its products being too small, and so is its softmax:
    powers of two are faster than those of e, and there are fewer attended values than scores to divide by the sum.
    """
    scores = q.new_empty(q.shape[1], q.shape[2], q.shape[2])
    scale = math.log2(math.e) * q.shape[-1] ** -0.5
    for q_, k_, v_, into_ in zip(q, k, v, into, strict=True):
        torch.baddbmm(scores, q_, k_.transpose(1, 2), beta=0, alpha=scale, out=scores)
        scores.sub_(scores.amax(-1, keepdim=True)).exp2_()
        torch.div(scores @ v_, scores.sum(-1, keepdim=True), out=into_)


def choose_attention(device: torch.device, dtype: torch.dtype) -> Attention:
    """Return the fastest backend there is for a device and a precision."""
    if device.type != "cuda" or dtype not in HALF or torch.cuda.get_device_capability(device) < FLASH_CAPABILITY:
        return sdpa_attention
    try:
        import flash_attn  # noqa: F401 (found is not enough: it may be built for another torch)
    except ImportError:
        return varlen_attention
    return flash_attention
