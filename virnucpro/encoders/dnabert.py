"""DNABERT-S (Zhou et al. 2024, arXiv 2402.08777) over packed sequences, without its pooler.

DNABERT-S is a BERT with post-norm layers and gated feed-forward parts (Portes et al. 2023, arXiv 2312.17482). It has no
position embeddings: attention falls with the distance between two tokens (ALiBi, Press et al. 2022, arXiv 2108.12409).
Sequences lie end to end in one [tokens, embed_dim] array, as in `virnucpro.encoders.esm`. Weights may be in half
precision; the residual stream, the norms and the attention are always in FP32.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.data.cards import Architecture
from virnucpro.data.collation import PackedBatch
from virnucpro.encoders.attention import attend_with_bias
from virnucpro.encoders.dnabert_tokenizer import DNABERTTokenizer
from virnucpro.encoders.linear import Linear
from virnucpro.encoders.memory import ModelMemory, estimate_gated_memory

EPSILON = 1e-12  # of all norms


@dataclass(frozen=True)
class DNABERTConfig:
    """Sizes of a DNABERT-S model."""

    architecture: ClassVar[Architecture] = "DNABERT-S"

    layers: int
    embed_dim: int
    heads: int
    feed_forward: int
    vocabulary: int

    def memory(self, bytes_per_number: int) -> ModelMemory:
        """Return the estimated memory of the weights and the activations."""
        return estimate_gated_memory(self.layers, self.embed_dim, self.feed_forward, bytes_per_number)


class Layer(nn.Module):
    """A post-norm transformer layer with a gated feed-forward part."""

    def __init__(self, config: DNABERTConfig) -> None:
        super().__init__()
        d = config.embed_dim
        self.heads = config.heads
        self.qkv = Linear(d, 3 * d)
        self.out = Linear(d, d)
        self.attention_norm = nn.LayerNorm(d, EPSILON)
        self.gated = Linear(d, 2 * config.feed_forward, bias=False)
        self.fc2 = Linear(config.feed_forward, d)
        self.ffn_norm = nn.LayerNorm(d, EPSILON)

    def forward(self, x: Tensor, slopes: Tensor, batch: PackedBatch) -> Tensor:
        """Return the residual stream after the layer; before and after are FP32 [tokens, embed_dim]."""
        dtype = self.qkv.weight.dtype
        qkv = self.qkv(x.to(dtype)).view(len(x), 3, self.heads, -1)
        attended = attend_with_bias(qkv, slopes, batch).flatten(1)
        del qkv  # frees its memory
        x = self.attention_norm(self.out.add(x, attended))
        gate, up = self.gated(x.to(dtype)).chunk(2, dim=-1)
        return cast(Tensor, self.ffn_norm(self.fc2.add(x, F.gelu(gate).mul_(up))))


class DNABERT(nn.Module):
    """The encoder of DNABERT-S; the caller sets `tokenizer`, which has its own file."""

    tokenizer: DNABERTTokenizer

    attention_name = attend_with_bias.__name__  # for records
    capturable = False  # attention needs the lengths of the sequences on the host, which a CUDA graph cannot read

    def __init__(self, config: DNABERTConfig) -> None:
        super().__init__()
        self.config = config
        d = config.embed_dim
        self.embed_tokens = nn.Embedding(config.vocabulary, d, _weight=torch.empty(config.vocabulary, d))
        self.token_type = nn.Embedding(1, d, _weight=torch.empty(1, d))
        self.embedding_norm = nn.LayerNorm(d, EPSILON)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.embed_tokens.weight.device

    def representations(self, batch: PackedBatch, wanted: Collection[int]) -> dict[int, Tensor]:
        """Return the representations of some layers by number, FP32 [tokens, embed_dim] each; 0 is the input."""
        embedded = self.embed_tokens.weight.float()[batch.input_ids] + self.token_type.weight.float()
        x = self.embedding_norm(embedded)
        slopes = torch.tensor(alibi_slopes(self.config.heads), device=x.device)
        found = {0: x} if 0 in wanted else {}
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, slopes, batch)
            if number in wanted:
                found[number] = x
        return found

    def compile_layers(self) -> None:
        """Do nothing: this model is neither compiled nor captured."""


def alibi_slopes(heads: int) -> list[float]:
    """Return the decrease of each head's scores per token of distance (Press et al. 2022 and its published code).

    For n heads, n a power of two, the slopes are 2^(-8/n), 2^(-16/n), ..., 2^-8. Another number of heads has the slopes
    of the next lower power of two, then every second slope of the next higher one.
    """
    lower = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * number / lower) for number in range(1, lower + 1)]
    return slopes + [2 ** (-4 * number / lower) for number in range(1, 2 * lower, 2)][: heads - lower]
