"""Attention: every sequence attends to itself alone."""

import pytest
import torch

from virnucpro.data.collation import PackedBatch
from virnucpro.encoders.attention import choose_attention, sdpa_attention


def batch_of(lengths: list[int]) -> PackedBatch:
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).int()
    unused = torch.empty(0)
    return PackedBatch(unused, cu_seqlens, max(lengths), lengths, ids=[], segments=unused)


@pytest.mark.parametrize("lengths", [[1], [7], [5, 5, 5], [9, 4, 4, 1], [3, 40, 3, 40, 40, 350]], ids=str)
def test_equals_attention_under_a_block_diagonal_mask(lengths: list[int]) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3, 2, 8)
    angle = torch.randn(sum(lengths), 1, 1, 4)
    first, second = qkv[..., ::2].double(), qkv[..., 1::2].double()
    rotated = torch.stack([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], -1)
    q, k = rotated.flatten(-2)[:, :2].unbind(1)
    mask = torch.block_diag(*[torch.ones(n, n) for n in lengths]).bool()
    scores = torch.einsum("qhd,khd->hqk", q, k) / 8**0.5
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    expected = torch.einsum("hqk,khd->qhd", weights, qkv[:, 2].double())
    found = sdpa_attention(qkv, torch.polar(torch.ones_like(angle), angle), batch_of(lengths))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cpu_uses_sdpa(dtype: torch.dtype) -> None:
    assert choose_attention(torch.device("cpu"), dtype) is sdpa_attention
