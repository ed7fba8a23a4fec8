"""What a contig's letters tell beside its proteins: how its stretches without stops are laid out, and its composition.

Nothing here depends on which of its strands a contig was assembled from.
"""

import numpy as np
import numpy.typing as npt

from virnucpro.data.translation import stop_codons

STRETCHES = (50, 100, 166, 300, 500, 1000)  # codons
_DINUCLEOTIDES = ("AA", "AC", "AG", "AT", "CA", "CC", "CG", "GA", "GC", "TA")  # the others are their complements

NAMES = (
    *(f"share_of_bases_in_stretches_of_{codons}_codons" for codons in STRETCHES),
    "share_of_the_longest_stretch",
    "log_longest_stretch",
    "stretches_of_100_codons_a_kilobase",
    "difference_between_strands",
    "log_length",
    "gc",
    *(f"log_odds_of_{pair}" for pair in _DINUCLEOTIDES),
)

_BASES = "ACGT"
_DIGIT = np.full(256, len(_BASES), np.uint8)
_DIGIT[list(_BASES.encode())] = range(len(_BASES))
_COMPLEMENT = np.array([3, 2, 1, 0, 4], np.uint8)


def contig_features(contig: bytes, genetic_code: int = 1) -> npt.NDArray[np.float64]:
    """Return the features of a contig, float64 [len(NAMES)], each named in NAMES.

    A stretch is a run of codons of one frame without a stop; a codon with an ambiguous letter ends it too. Shares are
    sums of codons over all six frames, three times which by the contig's length. The odds of a pair of neighbours are
    its frequency over the product of its letters' (Karlin & Burge 1995), both strands taken together.

    Args:
        contig: upper-case letters, at least one.
        genetic_code: NCBI's number, for which codons are stops.
    """
    digits = _DIGIT[np.frombuffer(contig, np.uint8)]
    forward, reverse = (np.concatenate(_stretches(digits, stops)) for stops in _stops(genetic_code))
    both = np.concatenate([forward, reverse])
    codons = max(len(contig) / 3, 1)
    longest = both.max(initial=0)
    difference = abs(forward[forward >= 100].sum() - reverse[reverse >= 100].sum())
    return np.array(
        [
            *(both[both >= shortest].sum() / codons for shortest in STRETCHES),
            longest / codons,
            np.log1p(longest),
            1000 * (both >= 100).sum() / len(contig),
            difference / codons,
            np.log(len(contig)),
            *_composition(digits),
        ]
    )


def _stops(genetic_code: int) -> list[npt.NDArray[np.bool_]]:
    """Return which codons, in base 5, end a stretch on the forward and on the reverse strand, bool [125] each."""
    digits = np.array([[_BASES.index(base) for base in codon] for codon in stop_codons(genetic_code)])
    power = np.array([25, 5, 1])
    ambiguous = (np.arange(125)[:, None] // power % 5 == len(_BASES)).any(axis=1)
    ends = []
    for codon in (digits, _COMPLEMENT[digits[:, ::-1]]):
        marked = ambiguous.copy()
        marked[codon @ power] = True
        ends.append(marked)
    return ends


def _stretches(digits: npt.NDArray[np.uint8], ends: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Return the lengths in codons of the stretches in each of three frames."""
    codons = digits[:-2] * np.uint8(25) + digits[1:-1] * np.uint8(5) + digits[2:]
    ended = ends[codons]
    lengths = []
    for frame in range(3):
        stops = np.flatnonzero(ended[frame::3])
        lengths.append(np.diff(np.concatenate([[-1], stops, [len(ended[frame::3])]])) - 1)
    return lengths


def _composition(digits: npt.NDArray[np.uint8]) -> list[float]:
    """Return the share of G and C, and the logarithms of the dinucleotides' odds, a pseudocount of one to each."""
    single = np.bincount(digits, minlength=5)[:4] + 1.0
    single = (single + single[::-1]) / (2 * single.sum())
    left, right = digits[:-1], digits[1:]
    clear = (left < 4) & (right < 4)
    pair = np.bincount(left[clear] * np.uint8(4) + right[clear], minlength=16).reshape(4, 4) + 1.0
    pair = (pair + pair[::-1, ::-1].T) / (2 * pair.sum())
    odds = np.log(pair / np.outer(single, single))
    return [single[1] + single[2], *(odds[_BASES.index(a), _BASES.index(b)] for a, b in map(tuple, _DINUCLEOTIDES))]
