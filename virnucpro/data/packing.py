"""First-fit decreasing packing of sequences into bins of a token budget (Johnson 1973, bound 11/9 OPT + 6/9)."""

import heapq
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = 2  # BOS and EOS, added to every sequence
MAX_SEQUENCE_LENGTH = 1022  # residues; with BOS and EOS the 1,024 tokens that ESM-2 was trained on


def first_fit_decreasing(tokens: npt.ArrayLike, budget: int) -> npt.NDArray[np.int32]:
    """Assign sequences to bins by first-fit decreasing.

    Sequences are placed longest first, ties in the order given, each into the first open bin with room. For speed all
    sequences of one length are placed at once: the first bin takes as many as it has room for, then the next. The bins
    are the same as if sequences were placed one by one.

    Args:
        tokens: Tokens of every sequence, int [sequences], each at least 1.

    Returns:
        Bin of every sequence, int32 [sequences]. Bins are numbered from 0 in the order in which they were opened.

    Raises:
        ValueError: A sequence is longer than the budget.

    Examples:
        Bin 0 holds 7 + 3 tokens, bin 1 holds 6 + 4.

        >>> first_fit_decreasing([3, 6, 4, 7], budget=10).tolist()
        [0, 1, 1, 0]
    """
    tokens = np.asarray(tokens)
    if tokens.size == 0:
        return np.empty(0, np.int32)
    longest = int(tokens.max())
    if longest > budget:
        raise ValueError(f"a sequence of {longest} tokens does not fit a budget of {budget}")
    narrow = np.uint16 if longest <= np.iinfo(np.uint16).max else np.int64
    order = np.argsort(longest - tokens.astype(narrow, copy=False), kind="stable")  # radix sort for 16 bits

    runs = np.bincount(tokens)
    lengths = np.flatnonzero(runs)
    room = np.empty(0, np.int32)  # free tokens of the open bins, in the order of opening
    number = np.empty(0, np.int32)  # numbers of the open bins
    opened = 0
    placed = np.empty(tokens.size, np.int32)
    done = 0
    for length in lengths[::-1].tolist():
        left = int(runs[length])
        candidates = np.flatnonzero(room >= length)
        taken = room[candidates] // length
        filled = np.cumsum(taken)
        used = int(np.searchsorted(filled, left))  # bins that take all they can; the next takes the rest
        if used < len(candidates):
            candidates, taken = candidates[: used + 1], taken[: used + 1]
            taken[used] -= filled[used] - left
        room[candidates] -= (taken * length).astype(np.int32)
        bins = np.repeat(number[candidates], taken)
        left -= len(bins)
        if left:
            capacity = budget // length
            new = -(-left // capacity)
            fresh = np.arange(opened, opened + new, dtype=np.int32)
            bins = np.concatenate([bins, np.repeat(fresh, capacity)[:left]])
            spare = np.full(new, budget - capacity * length, np.int32)
            spare[-1] += (capacity * new - left) * length
            opened += new
            room, number = np.concatenate([room, spare]), np.concatenate([number, fresh])
        placed[done : done + len(bins)] = bins
        done += len(bins)
        if (room < lengths[0]).mean() > 0.5:
            still_open = room >= lengths[0]
            room, number = room[still_open], number[still_open]
    assignment = np.empty(tokens.size, np.int32)
    assignment[order] = placed
    return assignment


class GreedyPacker:
    """Packs sequences into bins that hold at most `max_tokens_per_batch` tokens each.

    Args:
        max_tokens_per_batch: Token budget of a bin, including BOS and EOS of every sequence.
        max_sequence_length: Residues; a longer sequence is truncated to its N-terminal part.

    Examples:
        Each sequence has two special tokens, so `a` and `c` fill a bin of 12 tokens with 7 + 5.

        >>> packer = GreedyPacker(max_tokens_per_batch=12)
        >>> proteins = {"a": "MKVLA", "b": "MKVL", "c": "MKV"}
        >>> bins = packer.pack_sequences([{"id": name, "sequence": residues} for name, residues in proteins.items()])
        >>> [[sequence["id"] for sequence in batch] for batch in bins]
        [['a', 'c'], ['b']]
        >>> packer.compute_efficiency(bins)
        0.75
    """

    def __init__(self, max_tokens_per_batch: int, max_sequence_length: int = MAX_SEQUENCE_LENGTH) -> None:
        self.max_tokens_per_batch = max_tokens_per_batch
        self.max_sequence_length = max_sequence_length

    def sort_by_length(self, sequences: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the sequences, longest first, ties by id."""
        return sorted(sequences, key=lambda sequence: (-len(sequence["sequence"]), sequence["id"]))

    def pack_sequences(self, sequences: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """Pack sequences into bins by first-fit decreasing; their order does not matter.

        Args:
            sequences: Mappings with `id` and `sequence`; other keys are kept. The mappings are not changed.

        Returns:
            Bins of new dicts. A truncated sequence has `truncated: True`, and a warning is logged for it.

        Raises:
            UserError: The budget is smaller than one of the sequences.
        """
        ordered = self.sort_by_length([self._truncate(sequence) for sequence in sequences])
        tokens = np.array([len(sequence["sequence"]) + SPECIAL_TOKENS for sequence in ordered], np.int64)
        if ordered and tokens[0] > self.max_tokens_per_batch:
            raise UserError(
                f"the token budget of {self.max_tokens_per_batch} is smaller than sequence {ordered[0]['id']!r} "
                f"with its {tokens[0]} tokens; raise the budget or lower max_sequence_length"
            )
        assignment = first_fit_decreasing(tokens, self.max_tokens_per_batch)
        bins: list[list[dict[str, Any]]] = [[] for _ in range(int(assignment.max(initial=-1)) + 1)]
        for sequence, index in zip(ordered, assignment.tolist(), strict=True):
            bins[index].append(dict(sequence))
        return bins

    def compute_efficiency(self, batches: Sequence[Sequence[Mapping[str, Any]]]) -> float:
        """Return the proportion of the bins' token budgets that is used, 0 to 1; 0 without bins."""
        if not batches:
            return 0.0
        tokens = sum(len(sequence["sequence"]) + SPECIAL_TOKENS for batch in batches for sequence in batch)
        return tokens / (len(batches) * self.max_tokens_per_batch)

    def _truncate(self, sequence: Mapping[str, Any]) -> Mapping[str, Any]:
        length = len(sequence["sequence"])
        if length <= self.max_sequence_length:
            return sequence
        warn_truncated(sequence["id"], length, self.max_sequence_length)
        return {**sequence, "sequence": sequence["sequence"][: self.max_sequence_length], "truncated": True}


def warn_truncated(name: str, length: int, max_sequence_length: int) -> None:
    """Log that a sequence was truncated to its N-terminal part."""
    logger.warning("%s: %d residues, truncated to the N-terminal %d", name, length, max_sequence_length)


def deal_bins(tokens: npt.ArrayLike, shards: int) -> npt.NDArray[np.int32]:
    """Deal bins to shards, fullest first, each to the shard with the fewest tokens (LPT, Graham 1969).

    Args:
        tokens: Tokens of every bin, int [bins].

    Returns:
        Shard of every bin, int32 [bins].

    Examples:
        >>> deal_bins([5, 9, 8, 4], shards=2).tolist()  # 9 + 4 and 8 + 5 tokens
        [1, 0, 1, 0]
    """
    tokens = np.asarray(tokens, np.int64)
    shard = np.empty(tokens.size, np.int32)
    load = [(0, index) for index in range(shards)]
    for index in np.argsort(-tokens, kind="stable").tolist():
        total, lightest = heapq.heappop(load)
        shard[index] = lightest
        heapq.heappush(load, (total + int(tokens[index]), lightest))
    return shard
