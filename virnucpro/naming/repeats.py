"""Direct repeats between two sequences, with the number expected by chance, and possible attachment sites."""

from typing import NamedTuple

import numpy as np

from virnucpro.data.arrays import Floats, Integers, Mask
from virnucpro.data.repeats import is_simple

SHORTEST = 10  # bp
# An attachment site is no longer: longer repeats are copies of genes or of insertion sequences.
LONGEST_SITE = 200  # bp
MOST_EXPECTED = 0.01  # expected number of repeats by chance, up to which a repeat may be an attachment site

_NO_BASE = 4
_CODES = np.full(256, _NO_BASE, np.int64)
_CODES[np.frombuffer(b"ACGT", np.uint8)] = np.arange(4)


class Repeats(NamedTuple):
    """Direct repeats, the longest in both directions, each an array [repeats].

    Attributes:
        left, right: Start of the left and of the right copy, int64.
        lengths: Length in bases, int64.
        log_expected: Logarithm (base 10) of the expected number of repeats of this length or longer, float64.
    """

    left: Integers
    right: Integers
    lengths: Integers
    log_expected: Floats

    def at(self, rows: Integers | Mask) -> "Repeats":
        """Return the repeats with these numbers, or where a mask is true."""
        return Repeats(self.left[rows], self.right[rows], self.lengths[rows], self.log_expected[rows])


def direct_repeats(left: bytes, right: bytes) -> Repeats:
    """Return the exact direct repeats of 10 bp and more between two sequences; they have only the letters ACGT.

    In shuffled sequences two stretches of n bases are equal with the probability p^n, where p is the probability that
    two bases are equal. The expected number of repeats is p^n times the number of pairs of positions. This is the
    Bonferroni correction.

    Examples:
        >>> site = b"GGTTCGAATCCTGCTAGCC"
        >>> found = direct_repeats(b"ACACAC" + site + b"TTGG", b"TGTGTGTT" + site + b"AAC")
        >>> found.left.tolist(), found.right.tolist(), found.lengths.tolist(), found.log_expected.round(1).tolist()
        ([6], [8], [19], [-8.4])
    """
    codes = [_CODES[np.frombuffer(letters, np.uint8)] for letters in (left, right)]
    kmers, others = map(_kmers, codes)
    order = np.argsort(others, kind="stable")
    first, last = (np.searchsorted(others, kmers, side, sorter=order) for side in ("left", "right"))
    counts = np.where(kmers < 0, 0, last - first)
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # among equal k-mers
    at = np.repeat(np.arange(len(kmers)), counts)
    diagonal = order[np.repeat(first, counts) + rank] - at
    along = np.lexsort((at, diagonal))
    at, diagonal = at[along], diagonal[along]
    begins = np.flatnonzero((np.diff(at, prepend=-2) != 1) | (np.diff(diagonal, prepend=-len(left) - 1) != 0))
    lengths = np.diff(begins, append=len(at)) + SHORTEST - 1
    shares = [np.bincount(one, minlength=_NO_BASE + 1)[:_NO_BASE] / max(1, len(one)) for one in codes]
    equal = max(float(shares[0] @ shares[1]), 1e-9)
    log_expected = np.log10(max(1, len(left) * len(right))) + lengths * np.log10(equal)
    return Repeats(at[begins], at[begins] + diagonal[begins], lengths, log_expected)


def _kmers(codes: Integers) -> Integers:
    """Return the k-mers of `SHORTEST` bases as numbers, int64 [k-mers]; -1 if a letter is not one of ACGT."""
    if len(codes) < SHORTEST:
        return np.empty(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHORTEST)
    return np.where((windows == _NO_BASE).any(axis=1), -1, windows @ 4 ** np.arange(SHORTEST))


def possible_sites(letters: bytes, left: tuple[int, int], right: tuple[int, int]) -> Repeats:
    """Return the direct repeats between two ranges of a contig that may be attachment sites."""
    found = direct_repeats(letters[slice(*left)], letters[slice(*right)])
    found = found._replace(left=found.left + left[0], right=found.right + right[0])
    found = found.at((found.log_expected <= np.log10(MOST_EXPECTED)) & (found.lengths <= LONGEST_SITE))
    places = zip(found.left.tolist(), found.lengths.tolist(), strict=True)
    return found.at(np.array([not is_simple(letters[at : at + length]) for at, length in places], np.bool_))
