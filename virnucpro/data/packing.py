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

    Longest first, ties in the order given, each into the FIRST open bin with room. Sequences of one length are placed
    as a run: the first bin takes as many as it has room for, then the next, which is what first-fit does one by one.

    Args:
        tokens: tokens of every sequence, int [sequences], each at least 1.
        budget: tokens a bin holds.

    Returns:
        Bin of every sequence, int32 [sequences], bins numbered from 0 in the order in which they were opened.

    Raises:
        ValueError: a sequence is longer than the budget.
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
    room = np.empty(0, np.int32)  # of the bins that a later sequence may still fit, in the order of opening
    number = np.empty(0, np.int32)  # of those bins
    opened = 0
    placed = np.empty(tokens.size, np.int32)
    done = 0
    for length in lengths[::-1].tolist():
        left = int(runs[length])
        candidates = np.flatnonzero(room >= length)
        taken = room[candidates] // length
        filled = np.cumsum(taken)
        used = int(np.searchsorted(filled, left))  # bins filled to the brim; the next one takes the rest of the run
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
        max_tokens_per_batch: the token budget of a bin, BOS and EOS of every sequence included.
        max_sequence_length: residues; a longer sequence is truncated to its N-terminal part.
    """

    def __init__(self, max_tokens_per_batch: int, max_sequence_length: int = MAX_SEQUENCE_LENGTH) -> None:
        self.max_tokens_per_batch = max_tokens_per_batch
        self.max_sequence_length = max_sequence_length

    def sort_by_length(self, sequences: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the sequences longest first, ties by id."""
        return sorted(sequences, key=lambda sequence: (-len(sequence["sequence"]), sequence["id"]))

    def pack_sequences(self, sequences: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """Pack sequences into bins by first-fit decreasing, whatever order they come in.

        Args:
            sequences: mappings with `id` and `sequence`; other keys are carried along. They are not changed.

        Returns:
            Bins of new dicts. Those of truncated sequences have `truncated: True`, and a warning is logged for each.

        Raises:
            UserError: the budget is smaller than one of the sequences.
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
        """Return the proportion of the bins' budgets that their tokens fill, 0 to 1; 0 without bins."""
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
    """Deal bins to shards, the fullest first, each to the shard with the fewest tokens (Graham 1969, LPT).

    From the tokens of every bin, int [bins], follows the shard of every bin, int32 [bins].
    """
    tokens = np.asarray(tokens, np.int64)
    shard = np.empty(tokens.size, np.int32)
    load = [(0, index) for index in range(shards)]
    for index in np.argsort(-tokens, kind="stable").tolist():
        total, lightest = heapq.heappop(load)
        shard[index] = lightest
        heapq.heappush(load, (total + int(tokens[index]), lightest))
    return shard
