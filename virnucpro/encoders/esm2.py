"""ESM-2 (Lin et al. 2023, doi 10.1126/science.ade2574) over packed sequences: no padding, no language-model head.

Sequences lie end to end in one [tokens, embed_dim] array. Everything but attention works on single tokens, and
attention stays within each sequence. Weights may be in half precision; the residual stream, the norms and the rotary
embedding are FP32 always: an angle computed in half precision is off by 0.25 rad at position 1,022.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from virnucpro.data.collation import RESIDUES, PackedBatch
from virnucpro.encoders.attention import Attention
from virnucpro.encoders.linear import Linear

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
        self.qkv = Linear(d, 3 * d)  # numbers of queries and of keys that are rotated together are neighbours in it
        self.out = Linear(d, d)
        self.ffn_norm = nn.LayerNorm(d)
        self.fc1 = Linear(d, 4 * d)
        self.fc2 = Linear(4 * d, d)

    def attend(
        self, x: Tensor, rotation: Tensor, attention: Attention, batch: PackedBatch, vocabulary: Tensor | None = None
    ) -> Tensor:
        """Return the residual stream after attention, FP32 [tokens, embed_dim].

        Args:
            x: the residual stream before the layer.
            rotation: of `ESM2.rotation`.
            attention: the backend.
            batch: what x is the stream of.
            vocabulary: before the first layer, the 33 rows that x is made of: projecting these is enough.
        """
        qkv = self.project(x) if vocabulary is None else self.project(vocabulary)[batch.input_ids]
        attended = attention(qkv.view(len(x), 3, self.heads, -1), rotation, batch).flatten(1)
        del qkv  # before more is made
        return self.out.add(x, attended)

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the layer from that after its attention, FP32 [tokens, embed_dim]."""
        return self.fc2.add(x, self.fc1(self.ffn_norm(x).to(self.fc1.weight.dtype), gelu=True))

    def project(self, x: Tensor) -> Tensor:
        """Return queries, keys and values of rows of the residual stream, [rows, 3 embed_dim]."""
        return cast(Tensor, self.qkv(self.attention_norm(x).to(self.qkv.weight.dtype)))


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
        rotation = self.rotation(batch)
        vocabulary = self.embed_tokens.weight.float() * UNMASKED_SCALE
        x = vocabulary[batch.input_ids]
        found = {0: x} if 0 in wanted else {}
        for number, layer in enumerate(cast(list[Layer], self.layers), start=1):
            x = layer.attend(x, rotation, self.attention, batch, vocabulary if number == 1 else None)
            x = layer.feed_forward(x)
            if number in wanted:
                found[number] = x if number < self.config.layers else self.final_norm(x)
        return found

    def rotation(self, batch: PackedBatch) -> Tensor:
        """Return the complex numbers that rotate every token's queries and keys by its position in its sequence.

        Complex64 [tokens, 1, 1, head_dim / 2]: of modulus 1, and of angle position x frequency (Su et al. 2021, arXiv
        2104.09864). Two numbers of a head that are rotated together are taken as one complex number.
        """
        lengths = batch.cu_seqlens.diff()
        starts = torch.repeat_interleave(batch.cu_seqlens[:-1], lengths, output_size=len(batch.input_ids))
        position = torch.arange(len(batch.input_ids), device=starts.device) - starts
        angle = position[:, None, None, None] * self.inv_freq
        return torch.polar(torch.ones_like(angle), angle)


def mean_pool(representation: Tensor, batch: PackedBatch) -> Tensor:
    """Return the means over the pooled residues of every sequence, never BOS and EOS, FP32 [sequences, embed_dim]."""
    # Summed in a fixed order, where index_add_ on CUDA has none. Unsafe: it would wait for a GPU to check the lengths.
    total = torch.segment_reduce(representation, "sum", lengths=batch.segments.flatten(), axis=0, unsafe=True)[1::3]
    return total / batch.segments[:, 1:2]
