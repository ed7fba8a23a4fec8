"""ESM-2 (Lin et al. 2023, doi 10.1126/science.ade2574) over packed sequences: no padding, no language-model head.

Sequences lie end to end in one [tokens, embed_dim] array. Everything but attention works on single tokens, and
attention stays within each sequence. Weights may be in half precision; the residual stream, the norms and the rotary
angles are FP32 always: an angle computed in half precision is off by 0.25 rad at position 1,022.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.data.collation import RESIDUES, PackedBatch
from virnucpro.models.attention import Attention

VOCABULARY = len(RESIDUES) + 6  # <cls> <pad> <eos> <unk> before the residues, <null> <mask> after them

# In training 15 % of the tokens were chosen and 80 % of those masked; without masks, embeddings are scaled to match.
UNMASKED_SCALE = 1 - 0.15 * 0.8


@dataclass(frozen=True)
class ESM2Config:
    """Sizes of an ESM-2 model."""

    layers: int
    embed_dim: int
    heads: int

    @property
    def head_dim(self) -> int:
        """Numbers a head."""
        return self.embed_dim // self.heads


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, config: ESM2Config) -> None:
        super().__init__()
        d = config.embed_dim
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.ffn_norm = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, 4 * d)
        self.fc2 = nn.Linear(4 * d, d)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention, batch: PackedBatch) -> Tensor:
        """Return the residual stream after this layer, FP32 [tokens, embed_dim]."""
        x = x + self.attend(x, cos, sin, attention, batch)
        return cast(Tensor, x + self.fc2(F.gelu(self.fc1(self.ffn_norm(x).to(self.fc1.weight.dtype)))))

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention, batch: PackedBatch) -> Tensor:
        """Return what attention adds to the residual stream; apart, so that its arrays are freed before the rest."""
        qkv = self.qkv(self.attention_norm(x).to(self.qkv.weight.dtype))
        q, k, v = qkv.unflatten(1, (3, self.heads, -1)).unbind(1)
        attended = attention(rotate(q, cos, sin), rotate(k, cos, sin), v, batch)
        return cast(Tensor, self.out(attended.flatten(1)))


class ESM2(nn.Module):
    """The encoder of ESM-2.

    Attributes:
        config: its sizes.
        attention: the backend of its attention.
    """

    def __init__(self, config: ESM2Config, attention: Attention) -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        # Given a weight, since drawing a random one on the meta device loads torch's compiler: two seconds.
        self.embed_tokens = nn.Embedding(
            VOCABULARY, config.embed_dim, _weight=torch.empty(VOCABULARY, config.embed_dim)
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.embed_dim)
        # As rounded in the checkpoint: recomputed, it would differ from what the model was trained with.
        self.register_buffer("inv_freq", torch.empty(config.head_dim // 2))
        self.inv_freq: Tensor

    def forward(self, batch: PackedBatch) -> Tensor:
        """Return the last layer's representation of every token, BOS and EOS included, FP32 [tokens, embed_dim]."""
        return self.representations(batch, [self.config.layers])[self.config.layers]

    def representations(self, batch: PackedBatch, wanted: Collection[int]) -> dict[int, Tensor]:
        """Return the representations of some layers by number: 0 the embedding, only the last with the final norm."""
        cos, sin = self.rotary_tables(batch)
        x = self.embed_tokens(batch.input_ids).float() * UNMASKED_SCALE
        found = {0: x} if 0 in wanted else {}
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, cos, sin, self.attention, batch)
            if number in wanted:
                found[number] = x if number < self.config.layers else self.final_norm(x)
        return found

    def rotary_tables(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of every token's angles, FP32 [tokens, 1, head_dim]; each sequence starts at 0."""
        lengths = batch.cu_seqlens.diff()
        starts = torch.repeat_interleave(batch.cu_seqlens[:-1], lengths, output_size=len(batch.input_ids))
        position = torch.arange(len(batch.input_ids), device=starts.device) - starts
        angle = position[:, None] * self.inv_freq
        angle = torch.cat([angle, angle], dim=1)[:, None]
        return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate queries or keys, [tokens, heads, head_dim], by their positions (Su et al. 2021, arXiv 2104.09864)."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


def mean_pool(representation: Tensor, batch: PackedBatch) -> Tensor:
    """Return the means over the pooled residues of every sequence, never BOS and EOS, FP32 [sequences, embed_dim]."""
    # Summed in a fixed order, where index_add_ on CUDA has none.
    total = torch.segment_reduce(representation, "sum", lengths=batch.segments.flatten(), axis=0)[1::3]
    return total / batch.segments[:, 1:2]
