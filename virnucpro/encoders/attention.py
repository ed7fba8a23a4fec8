"""Attention within each sequence of a packed batch, by the backend that is fastest on the machine.

A backend takes three arguments. The first has queries, keys and values, [tokens, 3, heads, head_dim]; a backend may
overwrite it. The second has complex numbers that rotate queries and keys by their positions, complex64
[tokens, 1, 1, head_dim / 2]. The third is the batch, which has the start of each sequence. The backend returns the
attended values [tokens, heads, head_dim] in the precision of the first argument.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import cast

import torch
import torch.nn.functional as F

from virnucpro.data.collation import PackedBatch

Attention = Callable[[torch.Tensor, torch.Tensor, PackedBatch], torch.Tensor]

HALF = (torch.bfloat16, torch.float16)
SHORT = range(32, 321)  # lengths of sequences, in tokens, for which plain products are fastest on a CPU
NEAR = 8  # sequences are padded together if their lengths differ by at most an eighth of the longest
GROUP_TOKENS = 2048  # most tokens of sequences that are padded together; limits the memory of their copies
FLASH_CAPABILITY = (8, 0)  # compute capability that FlashAttention-2 needs, and torch's varlen attention with it
FLASH_4_CAPABILITY = (9, 0)  # that of Hopper, for which FlashAttention-4 is made


def flash_attention(qkv: torch.Tensor, rotation: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """FlashAttention-2 over cumulative lengths (Dao 2023), from the flash-attn package; CUDA, half precision only."""
    from flash_attn import flash_attn_varlen_func

    q, k, v = rotate(qkv, rotation).unbind(1)
    cu_seqlens, longest = batch.cu_seqlens, batch.max_seqlen
    return cast(torch.Tensor, flash_attn_varlen_func(q, k, v, cu_seqlens, cu_seqlens, longest, longest))


def flash_attention_4(qkv: torch.Tensor, rotation: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """FlashAttention-4 over cumulative lengths, from the flash-attn-4 package; CUDA, half precision only."""
    from flash_attn.cute import flash_attn_varlen_func

    q, k, v = rotate(qkv, rotation).unbind(1)
    starts = {"cu_seqlens_q": batch.cu_seqlens, "cu_seqlens_k": batch.cu_seqlens}
    longest = {"max_seqlen_q": batch.max_seqlen, "max_seqlen_k": batch.max_seqlen}
    attended, _ = flash_attn_varlen_func(q, k, v, **starts, **longest)
    return cast(torch.Tensor, attended)


def varlen_attention(qkv: torch.Tensor, rotation: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """torch's own variable-length attention; CUDA, half precision only."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = rotate(qkv, rotation).unbind(1)
    cu_seqlens, longest = batch.cu_seqlens, batch.max_seqlen
    # It returns a tuple only if auxiliary outputs are requested.
    return cast(torch.Tensor, varlen_attn(q, k, v, cu_seqlens, cu_seqlens, longest, longest))


def padded_attention(qkv: torch.Tensor, rotation: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """torch's scaled_dot_product_attention over neighbors of similar length, padded and masked; any device, precision.

    For GPUs on which the other backends do not run. One call covers several sequences.
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

    It uses torch's scaled_dot_product_attention over neighbors of similar length, padded and masked, on any device. It
    computes in FP32, in which large distances are exact.

    It takes the arguments of a backend, with `slopes` in place of the rotation. A slope is the decrease of a head's
    scores per token of distance, FP32 [heads].
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
    """Yield token numbers of neighbors of similar length, int64 [sequences, longest], and a mask of the real ones.

    A shorter sequence is padded with its last token. As a key it is masked; as a query it gives the same result again.
    """
    starts, ends = batch.cu_seqlens.long()[:-1, None], batch.cu_seqlens.long()[1:, None]
    for first, last in near_lengths(batch.lengths):
        longest = max(batch.lengths[first:last])
        position = starts[first:last] + torch.arange(longest, device=starts.device)
        inside = position < ends[first:last]
        yield torch.where(inside, position, ends[first:last] - 1), inside


def near_lengths(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield half-open ranges of neighboring sequences of similar length."""
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

    One sequence fits the processor's cache. Very short neighbors of equal length are computed together. All is in FP32:
    half precision is not faster on a CPU, and less exact.
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
    """Write the attended values of one sequence to `into`; all arguments are [heads, length, head_dim].

    This is faster on a CPU than torch's fused kernel, whose products are small. It is also faster than torch's softmax:
    2^x is faster than e^x, and the sums divide the attended values, which are fewer than the scores.
    """
    scores = q.new_empty(q.shape[0], q.shape[1], q.shape[1])
    scale = math.log2(math.e) * q.shape[-1] ** -0.5
    torch.baddbmm(scores, q, k.transpose(1, 2), beta=0, alpha=scale, out=scores)
    scores.sub_(scores.amax(-1, keepdim=True)).exp2_()
    torch.div(scores @ v, scores.sum(-1, keepdim=True), out=into)


def rotate(qkv: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Rotate queries and keys in place, and return them with the values; the rotation is computed in FP32."""
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
    capability = torch.cuda.get_device_capability(device) if dtype in HALF else (0, 0)
    if capability < FLASH_CAPABILITY:
        return padded_attention
    # A package may be built for another torch. flash-attn-4 alone leaves flash_attn without functions.
    with suppress(ImportError):
        from flash_attn import flash_attn_varlen_func  # noqa: F401

        return flash_attention
    with suppress(ImportError):
        from flash_attn import cute  # noqa: F401

        return flash_attention_4 if capability >= FLASH_4_CAPABILITY else varlen_attention
    return varlen_attention
