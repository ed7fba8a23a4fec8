"""What the layout of a contig's reading frames tells beside its proteins, the same for both of its strands."""

import numpy as np
import numpy.typing as npt

from virnucpro.data.translation import stop_codons

# RNA viruses are often one stretch from end to end; dense genes on one strand are rarer in cells than in viruses.
NAMES = ("share_of_the_longest_stretch", "difference_between_strands")
GENE = 100  # codons of a stretch that is likely to be one

_BASES = "ACGT"
_DIGIT = np.full(256, len(_BASES), np.uint8)
_DIGIT[list(_BASES.encode())] = range(len(_BASES))
_COMPLEMENT = np.array([3, 2, 1, 0], np.uint8)


def contig_features(contig: bytes, genetic_code: int = 1) -> npt.NDArray[np.float64]:
    """Return the features of a contig, float64 [2], as NAMES names them.

    A stretch is a run of codons of one frame without a stop; a codon with an ambiguous letter ends it too. The first
    feature is the length of the longest in all six frames, the second the difference between the strands in the sum of
    their stretches of 100 codons and more, both as shares of the contig's codons.

    Args:
        contig: upper-case letters, at least one.
        genetic_code: NCBI's number, for which codons are stops.
    """
    digits = _DIGIT[np.frombuffer(contig, np.uint8)]
    forward, reverse = (np.concatenate(_stretches(digits, ends)) for ends in _ends(genetic_code))
    codons = max(len(contig) / 3, 1)
    longest = max(forward.max(), reverse.max())
    difference = abs(forward[forward >= GENE].sum() - reverse[reverse >= GENE].sum())
    return np.array([longest / codons, difference / codons])


def _ends(genetic_code: int) -> list[npt.NDArray[np.bool_]]:
    """Return which codons, in base 5, end a stretch on the forward and on the reverse strand, bool [125] each."""
    stops = np.array([[_BASES.index(base) for base in codon] for codon in stop_codons(genetic_code)])
    power = np.array([25, 5, 1])
    ambiguous = (np.arange(125)[:, None] // power % 5 == len(_BASES)).any(axis=1)
    ends = []
    for codons in (stops, _COMPLEMENT[stops[:, ::-1]]):
        marked = ambiguous.copy()
        marked[codons @ power] = True
        ends.append(marked)
    return ends


def _stretches(digits: npt.NDArray[np.uint8], ends: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Return the lengths in codons of the stretches in each of three frames, those of no length included."""
    ended = ends[digits[:-2] * np.uint8(25) + digits[1:-1] * np.uint8(5) + digits[2:]]
    lengths = []
    for frame in range(3):
        stops = np.flatnonzero(ended[frame::3])
        lengths.append(np.diff(np.concatenate([[-1], stops, [len(ended[frame::3])]])) - 1)
    return lengths
