"""What the reading frames of a contig tell beside its proteins, the same for both of its strands."""

import numpy as np
import numpy.typing as npt

from virnucpro.proteins.translation import ending_codons, number_codons

# The genome of an RNA virus is often one open reading frame from end to end. In viruses genes lie on one strand alone
# more often than in cells.
NAMES = ("longest_orf", "difference_between_strands")
LONG = 100  # codons; an open reading frame of so many is likely to be a gene


def contig_features(contig: bytes, genetic_code: int = 1) -> npt.NDArray[np.float64]:
    """Return the features of a contig, float64 [2], as NAMES names them; its reverse complement has the same.

    An open reading frame is a run of codons of one frame without a stop or an ambiguous letter. The first feature is
    the length of the longest one in all six frames. The second is the difference between the strands in the total
    length of their open reading frames of 100 codons or more. Both are divided by the contig's length.

    Args:
        contig: upper-case letters, at least one.
        genetic_code: NCBI's number, for which codons are stops.
    """
    codon_at = number_codons(contig)
    forward, reverse = (np.concatenate(_open_runs(ends[codon_at])) for ends in ending_codons(genetic_code))
    codons = max(len(contig) / 3, 1)
    longest = max(forward.max(), reverse.max())
    difference = abs(forward[forward >= LONG].sum() - reverse[reverse >= LONG].sum())
    return np.array([longest / codons, difference / codons])


def _open_runs(ended: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Return the lengths in codons of the open reading frames in each of three frames, those of no length included."""
    lengths = []
    for frame in range(3):
        stops = np.flatnonzero(ended[frame::3])
        lengths.append(np.diff(np.concatenate([[-1], stops, [len(ended[frame::3])]])) - 1)
    return lengths
