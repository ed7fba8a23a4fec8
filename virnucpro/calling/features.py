"""What the layout of a contig's reading frames tells beside its proteins, the same for both of its strands."""

import numpy as np
import numpy.typing as npt

from virnucpro.proteins.translation import ending_codons, number_codons

# RNA viruses are often one open reading frame from end to end; dense genes on one strand are rarer in cells than in
# viruses.
NAMES = ("share_of_the_longest_orf", "difference_between_strands")
GENE = 100  # codons of an open reading frame that is likely to be one


def contig_features(contig: bytes, genetic_code: int = 1) -> npt.NDArray[np.float64]:
    """Return the features of a contig, float64 [2], as NAMES names them.

    An open reading frame here is a run of codons of one frame without a stop; a codon with an ambiguous letter ends it
    too. The first feature is the length of the longest in all six frames, the second the difference between the strands
    in the sum of their open reading frames of 100 codons and more, both as shares of the contig's codons.

    Args:
        contig: upper-case letters, at least one.
        genetic_code: NCBI's number, for which codons are stops.
    """
    codon_at = number_codons(contig)
    forward, reverse = (np.concatenate(_open_runs(ends[codon_at])) for ends in ending_codons(genetic_code))
    codons = max(len(contig) / 3, 1)
    longest = max(forward.max(), reverse.max())
    difference = abs(forward[forward >= GENE].sum() - reverse[reverse >= GENE].sum())
    return np.array([longest / codons, difference / codons])


def _open_runs(ended: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Return the lengths in codons of the open reading frames in each of three frames, those of no length included."""
    lengths = []
    for frame in range(3):
        stops = np.flatnonzero(ended[frame::3])
        lengths.append(np.diff(np.concatenate([[-1], stops, [len(ended[frame::3])]])) - 1)
    return lengths
