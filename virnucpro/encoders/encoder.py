"""What the rest of the package needs of an encoder: a model that embeds sequences, such as ESM-2."""

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from virnucpro.data.budget import ModelMemory
from virnucpro.data.collation import PackedBatch


class Tokenizer(Protocol):
    """Turns sequences of letters into token ids.

    Attributes:
        padding: id of the token that fills a batch up.
        special_tokens: tokens that a sequence has beside those of its letters.
        before: special tokens before the letters that pooling leaves out.
        after: special tokens after the letters that pooling leaves out.
    """

    padding: int
    special_tokens: int
    before: int
    after: int

    def __call__(self, ids: Sequence[str], sequences: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[int]]:
        """Tokenise the sequences of a bin, none of them empty.

        Args:
            ids: names of the sequences, for messages.
            sequences: their letters.

        Returns:
            The token ids of all sequences, special tokens included, one sequence after another, int64 [tokens]; and
            how many each sequence has.

        Raises:
            UserError: a sequence has a letter without a token.
        """


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
