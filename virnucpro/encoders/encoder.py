"""What the rest of the package needs of an encoder: a model that embeds sequences, such as ESM-2."""

from collections.abc import Collection
from typing import Protocol

import torch

from virnucpro.data.collation import PackedBatch, Tokenizer
from virnucpro.encoders.memory import ModelMemory


class Sizes(Protocol):
    """Sizes of an encoder, and the memory that follows from them."""

    @property
    def layers(self) -> int:
        """Layers, not counting the input."""

    @property
    def embed_dim(self) -> int:
        """Numbers a token."""

    def memory(self, bytes_per_number: int) -> ModelMemory:
        """Return what the weights and the activations take on a device, estimated."""


class Encoder(Protocol):
    """A model on its device, ready to run over packed batches."""

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes the tokens it was trained with."""

    @property
    def config(self) -> Sizes:
        """Its sizes."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    @property
    def attention_name(self) -> str:
        """What its attention is called in records."""

    @property
    def capturable(self) -> bool:
        """Whether its forward is the same for all batches of one shape, so that one CUDA graph serves them all."""

    def representations(self, batch: PackedBatch, wanted: Collection[int]) -> dict[int, torch.Tensor]:
        """Return the representations of some layers by number, 0 the input: FP32 [tokens, embed_dim] each."""

    def compile_layers(self) -> None:
        """Have torch compile what works on single tokens."""
