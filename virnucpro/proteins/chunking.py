"""Chunks of contigs, as in the original VirNucPro (Li et al. 2025, doi 10.1093/bib/bbaf224)."""

import numpy as np

from virnucpro.data.arrays import Integers


def chunk_spans(length: int, chunk_size: int) -> Integers:
    """Return the half-open spans of a contig's chunks, int64 [chunks, 2], in bases from the contig's start.

    There are ceil(length / chunk_size) chunks. They overlap so that the last one ends with the contig. The original
    divides the bases of overlap by the number of chunks, not by the number of overlaps. So the last chunk may reach
    beyond the contig, and is clipped.

    Examples:
        >>> chunk_spans(length=1200, chunk_size=500).tolist()
        [[0, 500], [399, 899], [798, 1200]]
    """
    count = -(-length // chunk_size)
    if count == 0:
        return np.empty((0, 2), np.int64)
    overlap, rest = divmod(count * chunk_size - length, count)
    wider = min(overlap + rest, count - 1)  # number of overlaps that are one base wider
    chunk = np.arange(count, dtype=np.int64)
    start = chunk * chunk_size - (chunk * overlap + np.minimum(chunk, wider))
    return np.stack([start, np.minimum(start + chunk_size, length)], axis=1)
