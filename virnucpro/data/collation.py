"""From a bin of sequences to one packed batch of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from virnucpro.errors import UserError

if TYPE_CHECKING:
    import torch

# The ESM-1b alphabet that every ESM-2 was trained with: residues are the tokens from 4 on.
BOS, PAD, EOS, UNKNOWN = range(4)
RESIDUES = "LAGVSERTIDPKQNFYMHWCXBUZO.-"
_FIRST_RESIDUE = 4
_REFUSED = 255
_TOKEN = bytearray([_REFUSED]) * 256
for _token, _letter in enumerate(RESIDUES, start=_FIRST_RESIDUE):
    _TOKEN[ord(_letter)] = _token
_TOKEN[ord("<")], _TOKEN[ord(">")] = BOS, EOS

FILLED_TO = 64  # oneDNN keeps some 3 MB of kernels for every number of tokens that it meets, so let it meet few


class BatchShape(NamedTuple):
    """What is the same of every batch of a shard, so that a GPU's work on one can be repeated on the next.

    Attributes:
        tokens: of a batch, with the padding.
        sequences: of a batch, with those that padding is made of and empty ones.
        longest: tokens of the longest sequence, which no padding exceeds.
    """

    tokens: int
    sequences: int
    longest: int


def common_shape(bins: Sequence[Sequence[int]], budget: int) -> BatchShape:
    """Return the one shape that all bins can be given, of a whole budget: what is captured for one bin serves all.

    Args:
        bins: the tokens of every sequence of every bin.
        budget: tokens that a bin may hold.
    """
    tokens = -(-budget // FILLED_TO) * FILLED_TO
    longest = max(max(lengths) for lengths in bins)
    return BatchShape(tokens, max(len(lengths) + -(-(tokens - sum(lengths)) // longest) for lengths in bins), longest)


@dataclass(frozen=True)
class PackedBatch:
    """Sequences end to end, without padding between them.

    Padding may follow, as sequences without an id: to make the tokens a multiple of 64, or to give the batch a shape.

    Attributes:
        input_ids: int64 [tokens], BOS residues EOS of every sequence, one after another.
        cu_seqlens: int32 [sequences + 1], where each sequence starts, and the number of tokens; in a batch of a given
            shape the last sequences may be empty.
        max_seqlen: tokens of the longest sequence.
        lengths: tokens of every sequence that is not empty.
        ids: id of every sequence but the padding.
        segments: int64 [ids, 3], tokens before, in and after the pooled residues; the padding is after the last ones.
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
        """Tokens at the end that belong to no sequence."""
        return sum(self.lengths[len(self.ids) :])

    def pooled(self) -> torch.Tensor:
        """Return which tokens are pooled, int64 [pooled residues]; for a batch on the host."""
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

    A sequence of it is a mapping with `id` and `sequence`, and with `pool`, the half-open span of its residues that are
    pooled, where these are not all.

    Args:
        shape: what every batch is filled up to; the tokens alone, to a multiple of 64, where there is none.

    Raises:
        UserError: a sequence is empty, or has a letter that the ESM-2 alphabet lacks.
    """

    def __init__(self, shape: BatchShape | None = None) -> None:
        self.shape = shape

    def __call__(self, sequences: Sequence[Mapping[str, Any]]) -> PackedBatch:
        """Tokenise and pack a bin."""
        import torch

        proteins = [str(sequence["sequence"]) for sequence in sequences]
        ids = [str(sequence["id"]) for sequence in sequences]
        text = "".join(f"<{protein}>" for protein in proteins)
        tokens = bytearray(text.encode("ascii", "replace").translate(_TOKEN))
        lengths = [len(protein) + 2 for protein in proteins]
        for name, protein in zip(ids, proteins, strict=True):
            if not protein:
                raise UserError(f"{name}: an empty sequence cannot be embedded; leave it out")
        if _REFUSED in tokens or tokens.count(BOS) > len(ids) or tokens.count(EOS) > len(ids):
            name, letter = next((n, c) for n, p in zip(ids, proteins, strict=True) for c in p if c not in RESIDUES)
            raise UserError(f"{name}: {letter!r} is no letter of the ESM-2 alphabet ({RESIDUES})")
        segments = torch.tensor([_segments(sequence) for sequence in sequences])
        padding = self.shape.tokens - len(tokens) if self.shape else -len(tokens) % FILLED_TO
        longest = self.shape.longest if self.shape else FILLED_TO
        tokens += bytes([PAD]) * padding
        lengths += [min(longest, padding - begin) for begin in range(0, padding, longest)]
        segments[-1, 2] += padding
        ends = [0, *accumulate(lengths)]
        if self.shape:
            ends += ends[-1:] * (self.shape.sequences + 1 - len(ends))
        return PackedBatch(
            input_ids=torch.frombuffer(tokens, dtype=torch.uint8).long(),
            cu_seqlens=torch.tensor(ends, dtype=torch.int32),
            max_seqlen=self.shape.longest if self.shape else max(lengths),
            lengths=lengths,
            ids=ids,
            segments=segments,
        )


def _segments(sequence: Mapping[str, Any]) -> tuple[int, int, int]:
    length = len(sequence["sequence"])
    begin, end = sequence.get("pool", (0, length))
    return 1 + begin, end - begin, length - end + 1
