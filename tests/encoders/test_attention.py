"""Attention: every sequence attends only to itself."""

import sys
from itertools import pairwise
from types import ModuleType

import pytest
import torch
from torch import Tensor

from virnucpro.data.collation import PackedBatch
from virnucpro.encoders.attention import (
    GROUP_TOKENS,
    SHORT,
    Attention,
    attend_by_products,
    choose_attention,
    flash_attention,
    flash_attention_4,
    near_lengths,
    padded_attention,
    sdpa_attention,
    varlen_attention,
)
from virnucpro.encoders.esm import ESM, ESMConfig

LENGTHS = [[1], [7], [5, 5, 5], [9, 4, 4, 1], [3, 40, 3, 40, 40, 350], [64, 63, 60, 56, 55, 9, 8, 200, 190]]


def batch_of(lengths: list[int]) -> PackedBatch:
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).int()
    unused = torch.empty(0)
    return PackedBatch(unused, cu_seqlens, max(lengths), lengths, ids=[], segments=unused)


def exact(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention in FP64 by its formula; all are [tokens, heads, head_dim]."""
    scores = torch.einsum("qhd,khd->hqk", q.double(), k.double()) / q.shape[-1] ** 0.5
    weights = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v.double())


@pytest.mark.parametrize("attention", [sdpa_attention, padded_attention])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_equals_attention_under_a_block_diagonal_mask(lengths: list[int], attention: Attention) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3, 2, 8)
    angle = torch.randn(sum(lengths), 1, 1, 4)
    first, second = qkv[..., ::2].double(), qkv[..., 1::2].double()
    rotated = torch.stack([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], -1)
    q, k = rotated.flatten(-2)[:, :2].unbind(1)
    expected = exact(q, k, qkv[:, 2], torch.block_diag(*[torch.ones(n, n) for n in lengths]).bool())
    found = attention(qkv, torch.polar(torch.ones_like(angle), angle), batch_of(lengths))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", [sdpa_attention, padded_attention])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half(attention: Attention, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    lengths = [40, 38, 7, 350]
    qkv = torch.randn(sum(lengths), 3, 2, 8).to(dtype)
    expected = exact(*qkv.unbind(1), torch.block_diag(*[torch.ones(n, n) for n in lengths]).bool())
    found = attention(qkv, torch.ones(sum(lengths), 1, 1, 4, dtype=torch.complex64), batch_of(lengths))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-2)


def test_large_scores_do_not_overflow() -> None:
    """Some heads of real models have scores of hundreds; their exponentials overflow in FP32."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, SHORT.start, 8)
    q = 200 * q
    found = torch.empty_like(v)
    attend_by_products(q, k, v, found)
    assert (q @ k.transpose(1, 2) / 8**0.5).max().exp().isinf()
    expected = exact(*(x.transpose(0, 1) for x in (q, k, v))).transpose(0, 1)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3)


def test_groups_of_near_lengths() -> None:
    lengths = [600, 590, 530, 520, 168, 168, 166, 148, 146, 1, 1, *[10] * 1000]
    groups = list(near_lengths(lengths))
    assert groups[:5] == [(0, 3), (3, 4), (4, 8), (8, 9), (9, 11)]
    assert [first for first, _ in groups[1:]] == [last for _, last in groups[:-1]]
    assert groups[-1][1] == len(lengths)
    for first, last in groups:
        group = lengths[first:last]
        assert max(group) - min(group) <= max(group) / 8
        assert len(group) * max(group) <= GROUP_TOKENS
    assert len(groups) == 10, "the thousand are five groups: 2,048 tokens are 204 of them"
    assert list(near_lengths([5000])) == [(0, 1)]
    assert list(near_lengths([5000, 5000, 4])) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cpu_uses_sdpa(dtype: torch.dtype) -> None:
    assert choose_attention(torch.device("cpu"), dtype) is sdpa_attention


def flash_attn_varlen_func(q: Tensor, k: Tensor, v: Tensor, *, cu_seqlens_q: Tensor, **others: object) -> Tensor:
    """Attention in FP64 by the arguments that the packages flash-attn and flash-attn-4 share."""
    assert others["cu_seqlens_k"] is cu_seqlens_q
    lengths = cu_seqlens_q.diff()
    assert others["max_seqlen_q"] == others["max_seqlen_k"] == lengths.max()
    return torch.cat([exact(q[a:b], k[a:b], v[a:b]) for a, b in pairwise(cu_seqlens_q.tolist())])


@pytest.fixture(params=["flash-attn", "flash-attn-4", "neither"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Packages with attention of a GPU; their kernels need one, so that another function takes its place."""
    whole, part = ModuleType("flash_attn"), ModuleType("flash_attn.cute")
    whole.__path__ = []  # without flash-attn, flash_attn holds what flash-attn-4 put there
    if request.param == "flash-attn":
        whole.flash_attn_varlen_func = lambda q, k, v, c, d, m, n: flash_attn_varlen_func(
            q, k, v, cu_seqlens_q=c, cu_seqlens_k=d, max_seqlen_q=m, max_seqlen_k=n
        )
    if request.param == "flash-attn-4":
        part.flash_attn_varlen_func = lambda q, k, v, **named: (flash_attn_varlen_func(q, k, v, **named), None)
        monkeypatch.setitem(sys.modules, "flash_attn.cute", part)
    if request.param != "neither":
        monkeypatch.setitem(sys.modules, "flash_attn", whole)
    return str(request.param)


def test_a_gpu_uses_what_is_installed(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    chosen = choose_attention(torch.device("cuda"), torch.bfloat16)
    assert chosen is {"flash-attn": flash_attention, "flash-attn-4": flash_attention_4}.get(installed, varlen_attention)
    if installed != "neither":
        torch.manual_seed(0)
        lengths = [3, 1, 9]
        qkv, rotation = torch.randn(13, 3, 2, 8), torch.ones(13, 1, 1, 4, dtype=torch.complex64)
        expected = sdpa_attention(qkv.clone(), rotation, batch_of(lengths))
        found = chosen(qkv, rotation, batch_of(lengths))
        torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-5)
    with torch.device("meta"):
        assert ESM(ESMConfig(1, 32, 2), chosen).capturable
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    chosen = choose_attention(torch.device("cuda"), torch.bfloat16)
    assert chosen is (flash_attention if installed == "flash-attn" else varlen_attention)


def test_a_gpu_pads_where_no_kernel_reads_where_sequences_start() -> None:
    assert choose_attention(torch.device("cuda"), torch.float32) is padded_attention
    with torch.device("meta"):
        models = {attention: ESM(ESMConfig(1, 32, 2), attention) for attention in (padded_attention, varlen_attention)}
    assert not models[padded_attention].capturable, "it launches what the lengths ask for"
    assert models[varlen_attention].capturable
