"""Attention within each sequence of a packed batch, by the backend that is fastest on the machine.

A backend takes the queries, keys and values [tokens, 3, heads, head_dim], which it may overwrite; the complex numbers
that rotate queries and keys by their positions, complex64 [tokens, 1, 1, head_dim / 2]; and the batch, which says where
sequences start. It returns the attended values [tokens, heads, head_dim] in the precision of the first.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import cast

import torch
import torch.nn.functional as F

from virnucpro.data.collation import PackedBatch

Attention = Callable[[torch.Tensor, torch.Tensor, PackedBatch], torch.Tensor]

HALF = (torch.bfloat16, torch.float16)
SHORT = range(32, 321)  # tokens of a sequence for which plain products are fastest on a CPU
NEAR = 8  # sequences are padded together where their lengths differ by an eighth of the longest at most
GROUP_TOKENS = 2048  # of sequences that are padded together: their copies are small beside a bin's activations
FLASH_CAPABILITY = (8, 0)  # of a GPU: FlashAttention-2 needs it, and so does torch's varlen attention, made of it


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


def padded_attention(qkv: torch.Tensor, rotation: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """torch's scaled_dot_product_attention over neighbours of near lengths, padded and masked; any device, precision.

    For GPUs where the other backends do not run: one call for a group in place of one for each length.
    """
    rotated = rotate(qkv, rotation)
    attended = torch.empty_like(qkv[:, 0])
    for token, inside in _padded(batch):
        q, k, v = rotated[token].permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=inside[:, None, None])
        attended[token] = found.transpose(1, 2)
    return attended


def attend_with_bias(qkv: torch.Tensor, slopes: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Attention whose scores fall with the distance of two tokens (ALiBi, Press et al. 2022, arXiv 2108.12409).

    By torch's scaled_dot_product_attention over neighbours of near lengths, padded and masked, always in FP32, in which
    large distances are exact; any device.

    As a backend, but for `slopes` in place of rotations: by how much a head's scores fall with every token of
    distance, FP32 [heads].
    """
    attended = torch.empty_like(qkv[:, 0])
    for token, inside in _padded(batch):
        position = torch.arange(token.shape[1], device=qkv.device)
        bias = -slopes[:, None, None] * (position - position[:, None]).abs()
        mask = bias.where(inside[:, None, None], -math.inf)
        q, k, v = qkv[token].float().permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        attended[token] = found.transpose(1, 2).to(attended.dtype)
    return attended


def _padded(batch: PackedBatch) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield, for neighbours of near lengths, which token stands where, int64 [sequences, longest], and where one does.

    Where a sequence is shorter it repeats its last token: as a key that is masked, as a query it attends to the same.
    """
    starts, ends = batch.cu_seqlens.long()[:-1, None], batch.cu_seqlens.long()[1:, None]
    for first, last in near_lengths(batch.lengths):
        longest = max(batch.lengths[first:last])
        position = starts[first:last] + torch.arange(longest, device=starts.device)
        inside = position < ends[first:last]
        yield torch.where(inside, position, ends[first:last] - 1), inside


def near_lengths(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield groups of neighbours whose lengths are near one another: the first of each, and the one after its last."""
    first, shortest, longest = 0, lengths[0], lengths[0]
    for number, length in enumerate(lengths):
        shortest, longest = min(shortest, length), max(longest, length)
        if longest - shortest > longest // NEAR or (number - first + 1) * longest > GROUP_TOKENS:
            if number > first:
                yield first, number
            first, shortest, longest = number, length, length
    yield first, len(lengths)


def sdpa_attention(qkv: torch.Tensor, rotation: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """torch's scaled_dot_product_attention, or plain products, over one sequence at a time; for a CPU.

    One sequence stays in the cache; the shortest are taken together, as many of one length as are neighbours. All in
    FP32: attention is no faster in half precision on a CPU, and less exact.
    """
    attended = torch.empty_like(qkv[:, 0])
    start = 0
    for length, run in groupby(batch.lengths):
        count = len(list(run))
        together = count if length < SHORT.start else 1
        for _ in range(count // together):
            tokens = slice(start, start + together * length)
            part = rotate(qkv[tokens].float(), rotation[tokens])
            q, k, v = part.view(together, length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
            into = attended[tokens].view(together, length, *qkv.shape[2:]).transpose(1, 2)
            if length in SHORT:
                attend_by_products(q[0], k[0], v[0], into[0])
            else:
                into.copy_(F.scaled_dot_product_attention(q, k, v))
            start = tokens.stop
    return attended


def attend_by_products(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, into: torch.Tensor) -> None:
    """Write the attended values of one sequence to `into`; all are [heads, length, head_dim].

    Faster on a CPU than torch's fused kernel, whose products are small, and than its softmax: powers of two are faster
    than those of e, and the sums divide the attended values, which are fewer than the scores.
    """
    scores = q.new_empty(q.shape[0], q.shape[1], q.shape[1])
    scale = math.log2(math.e) * q.shape[-1] ** -0.5
    torch.baddbmm(scores, q, k.transpose(1, 2), beta=0, alpha=scale, out=scores)
    scores.sub_(scores.amax(-1, keepdim=True)).exp2_()
    torch.div(scores @ v, scores.sum(-1, keepdim=True), out=into)


def rotate(qkv: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Rotate queries and keys in place, computing in FP32 whatever their precision, and return them with the values."""
    qk = qkv[:, :2]
    rotated = qk.float()
    torch.view_as_complex(rotated.view(*rotated.shape[:-1], -1, 2)).mul_(rotation)
    if rotated.dtype != qk.dtype:
        qk.copy_(rotated)
    return qkv


def choose_attention(device: torch.device, dtype: torch.dtype) -> Attention:
    """Return the fastest backend for a device and a precision."""
    if device.type != "cuda":
        return sdpa_attention
    if dtype not in HALF or torch.cuda.get_device_capability(device) < FLASH_CAPABILITY:
        return padded_attention
    try:
        import flash_attn  # noqa: F401 (found is not enough: it may be built for another torch)
    except ImportError:
        return varlen_attention
    return flash_attention
