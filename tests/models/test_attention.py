"""Attention: every sequence attends to itself alone."""

import pytest
import torch

from virnucpro.data.collation import PackedBatch
from virnucpro.models.attention import choose_attention, sdpa_attention


def batch_of(lengths: list[int]) -> PackedBatch:
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).int()
    unused = torch.empty(0)
    return PackedBatch(unused, cu_seqlens, max(lengths), lengths, ids=[], segments=unused)


@pytest.mark.parametrize("lengths", [[1], [7], [5, 5, 5], [9, 4, 4, 1], [3, 8, 3, 8]], ids=str)
def test_equals_attention_under_a_block_diagonal_mask(lengths: list[int]) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, sum(lengths), 2, 8, dtype=torch.float64)
    mask = torch.block_diag(*[torch.ones(n, n) for n in lengths]).bool()
    scores = torch.einsum("qhd,khd->hqk", q, k) / 8**0.5
    expected = torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v)
    torch.testing.assert_close(sdpa_attention(q, k, v, batch_of(lengths)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cpu_uses_sdpa(dtype: torch.dtype) -> None:
    assert choose_attention(torch.device("cpu"), dtype) is sdpa_attention
