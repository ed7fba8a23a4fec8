"""ESM-2 and ESM C over packed sequences, without their language-model heads.

ESM-2 is described by Lin et al. 2023 (doi 10.1126/science.ade2574), ESM C by the ESM Team 2024
(https://evolutionaryscale.ai/blog/esm-cambrian). Both are pre-norm transformers with a rotary embedding and the same
tokens. In ESM C queries and keys have a norm, the feed-forward part is gated (SwiGLU), and matrices have no bias. What
a layer adds to the residual stream is divided by a constant.

Sequences lie end to end in one [tokens, embed_dim] array. Attention stays within each sequence; everything else works
on single tokens. Weights may be in half precision. The residual stream, the norms and the rotary embedding are always
in FP32: in half precision the angle at position 1,022 would be wrong by 0.25 rad.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.data.cards import Architecture
from virnucpro.data.collation import PackedBatch
from virnucpro.encoders.alphabet import VOCABULARY, ESM2Tokenizer
from virnucpro.encoders.attention import Attention, flash_attention, flash_attention_4, varlen_attention
from virnucpro.encoders.linear import Linear
from virnucpro.encoders.memory import ModelMemory, estimate_esmc_memory, estimate_memory

# In the training of ESM-2 15 % of the tokens were chosen and 80 % of these were masked. Without masks, its token
# embeddings are scaled to their average in training.
UNMASKED_SCALE = 1 - 0.15 * 0.8


@dataclass(frozen=True)
class ESMConfig:
    """Sizes of an ESM-2 or ESM C model."""

    layers: int
    embed_dim: int
    heads: int
    architecture: Architecture = "ESM-2"

    @property
    def is_esmc(self) -> bool:
        """Whether the model is an ESM C."""
        return self.architecture == "ESM C"

    @property
    def feed_forward(self) -> int:
        """Width of the feed-forward part; in ESM C 8/3 embed_dim, rounded up to a multiple of 256."""
        return -(-8 * self.embed_dim // 768) * 256 if self.is_esmc else 4 * self.embed_dim

    @property
    def residual_scale(self) -> float:
        """Divisor of each layer's two additions to the residual stream."""
        return math.sqrt(self.layers / 36) if self.is_esmc else 1.0

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.embed_dim // self.heads

    def memory(self, bytes_per_number: int) -> ModelMemory:
        """Return the estimated memory of the weights and the activations."""
        if self.is_esmc:
            return estimate_esmc_memory(self.layers, self.embed_dim, self.feed_forward, bytes_per_number)
        return estimate_memory(self.layers, self.embed_dim, bytes_per_number)


class QueryKeyNorm(nn.Module):
    """Layer norms of queries and of keys over all heads, without biases."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * embed_dim))  # of queries, then of keys

    def forward(self, qkv: Tensor) -> Tensor:
        """Normalize queries and keys in place, in FP32, and return them with the values, [rows, 3 embed_dim]."""
        for part, weight in zip(qkv.chunk(3, dim=-1), self.weight.chunk(2), strict=False):
            part.copy_(F.layer_norm(part.float(), weight.shape, weight))
        return qkv


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, config: ESMConfig) -> None:
        super().__init__()
        d, wide, bias = config.embed_dim, config.feed_forward, not config.is_esmc
        self.heads = config.heads
        self.gated = config.is_esmc
        self.attention_norm = nn.LayerNorm(d)
        self.qkv = Linear(d, 3 * d, bias)  # numbers that are rotated together are neighboring rows
        self.qk_norm = QueryKeyNorm(d) if config.is_esmc else nn.Identity()
        self.out = Linear(d, d, bias)  # divided by the residual scale, as is fc2
        self.ffn_norm = nn.LayerNorm(d)
        self.fc1 = Linear(d, 2 * wide if self.gated else wide, bias)
        self.fc2 = Linear(wide, d, bias)

    def attend(
        self, x: Tensor, rotation: Tensor, attention: Attention, batch: PackedBatch, vocabulary: Tensor | None = None
    ) -> Tensor:
        """Return the residual stream after attention, FP32 [tokens, embed_dim].

        Args:
            x: The residual stream before the layer, FP32 [tokens, embed_dim].
            rotation: Result of `ESM.rotation` for the batch.
            vocabulary: Embeddings of the 33 tokens, for the first layer only. Rows of its x repeat them, so only these
                are projected.
        """
        qkv = self.project(x) if vocabulary is None else self.project(vocabulary)[batch.input_ids]
        attended = attention(qkv.view(len(x), 3, self.heads, -1), rotation, batch).flatten(1)
        del qkv  # frees its memory
        return self.out.add(x, attended)

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the feed-forward part; before and after are FP32 [tokens, embed_dim]."""
        return self.fc2.add(x, self.widen(self.ffn_norm(x.float()).to(self.fc1.weight.dtype)))

    def widen(self, x: Tensor) -> Tensor:
        """Return the hidden numbers of the feed-forward part, [tokens, feed_forward]."""
        if not self.gated:
            return cast(Tensor, self.fc1(x, gelu=True))
        gate, up = self.fc1(x).chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    def project(self, x: Tensor) -> Tensor:
        """Return queries, keys and values for rows of the residual stream, [rows, 3 embed_dim]."""
        return cast(Tensor, self.qk_norm(self.qkv(self.attention_norm(x.float()).to(self.qkv.weight.dtype))))


class ESM(nn.Module):
    """The encoder of ESM-2 or ESM C."""

    tokenizer = ESM2Tokenizer()
    residual_dtype = torch.float32  # BF16 would halve the traffic; benchmarks/gpu.py times it (docs/engine.md)

    def __init__(self, config: ESMConfig, attention: Attention) -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        # With a given weight: a random one on the meta device would load torch's compiler, two seconds.
        self.embed_tokens = nn.Embedding(
            VOCABULARY, config.embed_dim, _weight=torch.empty(VOCABULARY, config.embed_dim)
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.embed_dim, bias=not config.is_esmc)
        # A checkpoint of ESM-2 has them, because it was trained with rounded values.
        self.register_buffer("inv_freq", torch.empty(config.head_dim // 2))
        self.inv_freq: Tensor

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.inv_freq.device

    @property
    def attention_name(self) -> str:
        """Name of the attention backend, for records."""
        return self.attention.__name__

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph of one batch can be replayed for other batches of the same shape.

        The attention backend must then read the starts of sequences on the GPU.
        """
        return self.attention in (flash_attention, flash_attention_4, varlen_attention)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Return the last layer's representation of every token, BOS and EOS included, FP32 [tokens, embed_dim]."""
        return self.representations(batch, [self.config.layers])[self.config.layers]

    def representations(self, batch: PackedBatch, wanted: Collection[int]) -> dict[int, Tensor]:
        """Return the representations of some layers by number, FP32 [tokens, embed_dim] each.

        0 is the input of the first layer. Only the last layer has the final norm.
        """
        rotation = self.rotation(batch)
        vocabulary = self.embed_tokens.weight.float() * (1.0 if self.config.is_esmc else UNMASKED_SCALE)
        x = vocabulary[batch.input_ids].to(self.residual_dtype)
        found = {0: x.float()} if 0 in wanted else {}
        for number, layer in enumerate(cast(list[Layer], self.layers), start=1):
            x = layer.attend(x, rotation, self.attention, batch, vocabulary if number == 1 else None)
            x = layer.feed_forward(x)
            if number in wanted:
                found[number] = x.float() if number < self.config.layers else self.final_norm(x.float())
        return found

    def rotation(self, batch: PackedBatch) -> Tensor:
        """Return the factors that rotate every token's queries and keys, complex64 [tokens, 1, 1, head_dim / 2].

        Two numbers of a head form one complex number. It is multiplied by a number of modulus 1 and angle
        position x frequency, where the position is counted in the sequence (Su et al. 2021, arXiv 2104.09864).
        """
        lengths = batch.cu_seqlens.diff()
        starts = torch.repeat_interleave(batch.cu_seqlens[:-1], lengths, output_size=len(batch.input_ids))
        position = torch.arange(len(batch.input_ids), device=starts.device) - starts
        angle = position[:, None, None, None] * self.inv_freq
        return torch.polar(torch.ones_like(angle), angle)

    def compile_layers(self) -> None:
        """Let torch compile the parts that work on single tokens, once for all layers and each number of tokens.

        The compiler cannot read weights in the layout of `Linear.pack`. It fuses the norms and the GELU, not the rotary
        embedding: torch 2.13 generates no code for complex numbers.
        """
        for layer in cast(list[Layer], self.layers):
            layer.project = torch.compile(layer.project, dynamic=False, fullgraph=True)  # type: ignore[method-assign]
            layer.feed_forward = torch.compile(layer.feed_forward, dynamic=False, fullgraph=True)  # type: ignore[method-assign]
