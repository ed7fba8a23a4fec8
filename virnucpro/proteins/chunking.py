"""Chunks of contigs, exactly those of the original VirNucPro (Li et al. 2025, doi 10.1093/bib/bbaf224)."""

import numpy as np

from virnucpro.data.arrays import Integers


def chunk_spans(length: int, chunk_size: int) -> Integers:
    """Return the half-open spans of a contig's chunks, int64 [chunks, 2], in bp from the contig's start.

    There are ceil(length / chunk_size) chunks, which overlap so as to end with the contig. The original divides the
    bases of overlap by the number of chunks, which is one more than that of overlaps. So chunks may reach beyond the
    contig; the last one is clipped there.
    """
    count = -(-length // chunk_size)
    if count == 0:
        return np.empty((0, 2), np.int64)
    overlap, rest = divmod(count * chunk_size - length, count)
    wider = min(overlap + rest, count - 1)  # this many pairs of neighbours overlap by one base more
    chunk = np.arange(count, dtype=np.int64)
    start = chunk * chunk_size - (chunk * overlap + np.minimum(chunk, wider))
    return np.stack([start, np.minimum(start + chunk_size, length)], axis=1)
