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

# Batches are padded to a multiple of this many tokens: oneDNN caches about 3 MB of kernels for each number of tokens.
FILLED_TO = 64
SHARES = (4, 2, 1)  # batches of a compiled model have a quarter, a half or all of the token budget


class Tokenizer(Protocol):
    """Turns sequences of letters into token ids."""

    padding: int  # id of the padding token
    special_tokens: int  # special tokens of a sequence
    before: int  # tokens before the letters that pooling leaves out
    after: int  # tokens after the letters that pooling leaves out

    def __call__(self, ids: Sequence[str], sequences: Sequence[str]) -> tuple[Integers, list[int]]:
        """Tokenize the sequences of a bin; no sequence is empty, and the ids are for messages.

        Returns:
            Token ids of all sequences, one sequence after another, int64 [tokens]; and the number of tokens of each
            sequence. Both include special tokens.

        Raises:
            UserError: A sequence has a letter without a token.
        """


class BatchShape(NamedTuple):
    """Fixed shape of many batches, so that one captured CUDA graph can be replayed for them."""

    tokens: int  # including padding
    sequences: int  # including empty sequences and sequences of padding
    longest: int  # tokens of the longest sequence, including sequences of padding


def batch_shapes(bins: Sequence[Sequence[int]], budget: int) -> list[BatchShape]:
    """Return the shapes that bins are padded to, smallest first; shapes that no bin needs are left out.

    Args:
        bins: Tokens of every sequence of every bin.
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
    """Return the lengths of a bin's sequences, then of its padding up to `tokens`, in pieces of `longest` at most."""
    padding = tokens - sum(lengths)
    return [*lengths, *(min(longest, padding - begin) for begin in range(0, padding, longest))]


@dataclass(frozen=True)
class PackedBatch:
    """Sequences end to end, without padding between them.

    Padding may follow the last sequence, as further sequences. It makes the number of tokens a multiple of 64, or gives
    the batch a fixed shape.

    Attributes:
        input_ids: Tokens of every sequence, one after another, int64 [tokens].
        cu_seqlens: Start of each sequence, and the number of tokens, int32 [sequences + 1]. In a batch of a fixed shape
            the last sequences may be empty.
        max_seqlen: Tokens of the longest sequence, including padding.
        lengths: Tokens of every sequence that is not empty, including padding.
        ids: Id of every sequence, without padding.
        segments: Tokens of every sequence before, in and after its pooled part, int64 [ids, 3]; without padding.
    """

    input_ids: torch.Tensor
    cu_seqlens: torch.Tensor
    max_seqlen: int
    lengths: list[int]
    ids: list[str]
    segments: torch.Tensor

    @property
    def shape(self) -> BatchShape:
        """Shape of the batch."""
        return BatchShape(len(self.input_ids), len(self.cu_seqlens) - 1, self.max_seqlen)

    @property
    def padding(self) -> int:
        """Number of padding tokens, which follow the last sequence."""
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
        """Return the batch with copies of its tensors."""
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

    A sequence of the bin is a mapping with `id` and `sequence`. It may have `pool`, the half-open span of tokens to
    pool, counted without the special tokens at the start. By default all tokens are pooled.

    Args:
        shapes: A batch is padded to the first shape that holds it, or to a multiple of 64 tokens.

    Raises:
        UserError: A sequence is empty, or has a letter that the tokenizer lacks.

    Examples:
        Each sequence starts with BOS and ends with EOS; padding fills the batch up to 64 tokens.

        >>> from virnucpro.encoders.alphabet import ESM2Tokenizer
        >>> batch = VarlenCollator(ESM2Tokenizer())([{"id": "a", "sequence": "MKV"}, {"id": "b", "sequence": "MK"}])
        >>> batch.cu_seqlens.tolist(), batch.padding
        ([0, 5, 9, 64], 55)
        >>> batch.segments.tolist()  # tokens before, in and after the pooled part
        [[1, 3, 1], [1, 2, 1]]
    """

    def __init__(self, tokenizer: Tokenizer, shapes: Sequence[BatchShape] = ()) -> None:
        self.tokenizer = tokenizer
        self.shapes = shapes

    def __call__(self, sequences: Sequence[Mapping[str, Any]]) -> PackedBatch:
        """Tokenize and pack a bin."""
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
