"""From a bin of sequences to one packed batch of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from virnucpro.data.arrays import Integers
from virnucpro.errors import UserError

if TYPE_CHECKING:
    import torch

FILLED_TO = 64  # oneDNN keeps some 3 MB of kernels for every number of tokens that it meets, so let it meet few
SHARES = (4, 2, 1)  # a compiled forward's batches have a quarter, half or all of the token budget


class Tokenizer(Protocol):
    """Turns sequences of letters into token ids."""

    padding: int  # id of the token that fills a batch up
    special_tokens: int  # of a sequence, beside those of its letters
    before: int  # special tokens before the letters that pooling leaves out
    after: int  # those after them

    def __call__(self, ids: Sequence[str], sequences: Sequence[str]) -> tuple[Integers, list[int]]:
        """Tokenise the sequences of a bin, none of them empty; the ids are for messages.

        Returns:
            The token ids of all sequences, special tokens included, one sequence after another, int64 [tokens]; and
            how many each sequence has.

        Raises:
            UserError: a sequence has a letter without a token.
        """


class BatchShape(NamedTuple):
    """Fixed shape of many batches, so that one captured CUDA graph can be replayed for them."""

    tokens: int  # padding included
    sequences: int  # those that padding is made of and empty ones included
    longest: int  # tokens of the longest sequence; those of padding are no longer


def batch_shapes(bins: Sequence[Sequence[int]], budget: int) -> list[BatchShape]:
    """Return the few shapes that bins, given as the tokens of their sequences, are filled up to, the smallest first.

    A shape that no bin needs is left out.
    """
    shapes: list[BatchShape] = []
    longest = max(max(lengths) for lengths in bins)
    below = 0
    for share in SHARES:
        tokens = -(-budget // share // FILLED_TO) * FILLED_TO
        if filled := [fill_up(lengths, tokens, longest) for lengths in bins if below < sum(lengths) <= tokens]:
            shapes.append(BatchShape(tokens, max(map(len, filled)), longest))
        below = tokens
    return shapes


def fill_up(lengths: Sequence[int], tokens: int, longest: int) -> list[int]:
    """Return the lengths of a bin's sequences and of the padding that makes them `tokens`, in pieces of `longest`."""
    padding = tokens - sum(lengths)
    return [*lengths, *(min(longest, padding - begin) for begin in range(0, padding, longest))]


@dataclass(frozen=True)
class PackedBatch:
    """Sequences end to end, without padding between them.

    Padding may follow the last sequence, in sequences of its own: it makes the tokens a multiple of 64, or gives the
    batch a shape.

    Attributes:
        input_ids: int64 [tokens], the tokens of every sequence, one after another.
        cu_seqlens: int32 [sequences + 1], where each sequence starts, and the number of tokens; in a batch of a given
            shape the last sequences may be empty.
        max_seqlen: tokens of the longest sequence.
        lengths: tokens of every sequence that is not empty, padding included.
        ids: id of every sequence, padding left out.
        segments: int64 [ids, 3], tokens of every sequence before, in and after its pooled ones; without padding.
    """

    input_ids: torch.Tensor
    cu_seqlens: torch.Tensor
    max_seqlen: int
    lengths: list[int]
    ids: list[str]
    segments: torch.Tensor

    @property
    def shape(self) -> BatchShape:
        """The batch's shape."""
        return BatchShape(len(self.input_ids), len(self.cu_seqlens) - 1, self.max_seqlen)

    @property
    def padding(self) -> int:
        """Tokens of padding, which follow those of the sequences."""
        return sum(self.lengths[len(self.ids) :])

    def pooled(self) -> torch.Tensor:
        """Return the indices of the pooled tokens, int64 [pooled tokens]; for a batch on the host."""
        import torch

        in_segment = torch.tensor([False, True, False]).repeat(len(self.ids))
        return in_segment.repeat_interleave(self.segments.flatten()).nonzero().squeeze(1)

    def to(self, device: torch.device) -> PackedBatch:
        """Return the batch with its tensors on `device`; from pinned memory the copy does not block."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def clone(self) -> PackedBatch:
        """Return the batch with tensors of its own."""
        return self._map(lambda tensor: tensor.clone())

    def pin_memory(self) -> PackedBatch:
        """Return the batch with its tensors in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, move: Callable[[torch.Tensor], torch.Tensor]) -> PackedBatch:
        return replace(
            self, input_ids=move(self.input_ids), cu_seqlens=move(self.cu_seqlens), segments=move(self.segments)
        )


class VarlenCollator:
    """Turns a bin into a `PackedBatch`.

    A sequence of the bin is a mapping with `id` and `sequence`. It may have `pool`, the half-open span of its tokens
    that are pooled, counted from the first that is no special token; without it all are pooled.

    Args:
        tokenizer: makes the tokens.
        shapes: a batch is filled up to the first of these that holds it; without one, to a multiple of 64 tokens.

    Raises:
        UserError: a sequence is empty, or has a letter that the tokenizer lacks.
    """

    def __init__(self, tokenizer: Tokenizer, shapes: Sequence[BatchShape] = ()) -> None:
        self.tokenizer = tokenizer
        self.shapes = shapes

    def __call__(self, sequences: Sequence[Mapping[str, Any]]) -> PackedBatch:
        """Tokenise and pack a bin."""
        import torch

        ids = [str(sequence["id"]) for sequence in sequences]
        letters = [str(sequence["sequence"]) for sequence in sequences]
        if "" in letters:
            raise UserError(f"{ids[letters.index('')]}: an empty sequence cannot be embedded; leave it out")
        tokens, lengths = self.tokenizer(ids, letters)
        segments = [self._segments(sequence, length) for sequence, length in zip(sequences, lengths, strict=True)]
        shape, filled = self._shape(lengths)
        ends = [0, *accumulate(filled)]
        padding = np.full(ends[-1] - len(tokens), self.tokenizer.padding)
        ends += ends[-1:] * (shape.sequences - len(filled))
        return PackedBatch(
            input_ids=torch.from_numpy(np.concatenate([tokens, padding])),
            cu_seqlens=torch.tensor(ends, dtype=torch.int32),
            max_seqlen=shape.longest,
            lengths=filled,
            ids=ids,
            segments=torch.tensor(segments),
        )

    def _shape(self, lengths: list[int]) -> tuple[BatchShape, list[int]]:
        """Return the shape of a bin's batch, and the lengths of its sequences, padding included."""
        for shape in self.shapes:
            filled = fill_up(lengths, shape.tokens, shape.longest)
            if sum(filled) == shape.tokens and len(filled) <= shape.sequences and max(filled) <= shape.longest:
                return shape, filled
        filled = fill_up(lengths, -(-sum(lengths) // FILLED_TO) * FILLED_TO, FILLED_TO)
        return BatchShape(sum(filled), len(filled), max(filled)), filled

    def _segments(self, sequence: Mapping[str, Any], tokens: int) -> tuple[int, int, int]:
        before, after = self.tokenizer.before, self.tokenizer.after
        begin, end = sequence.get("pool", (0, tokens - before - after))
        return before + begin, end - begin, tokens - before - end
