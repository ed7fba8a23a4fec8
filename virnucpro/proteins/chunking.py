"""Cutting contigs into windows, exactly as the original VirNucPro does (Li et al. 2025, doi 10.1093/bib/bbaf224)."""

import numpy as np
import numpy.typing as npt


def chunk_spans(length: int, chunk_size: int) -> npt.NDArray[np.int64]:
    """Return the half-open spans of a contig's chunks, int64 [chunks, 2], in bp from the contig's start.

    There are ceil(length / chunk_size) chunks. What they have too much is spread over their junctions as overlap; the
    original divides it by the number of chunks, not of junctions, so the last chunk may be shorter than the others.
    """
    count = -(-length // chunk_size)
    if count == 0:
        return np.empty((0, 2), np.int64)
    overlap, rest = divmod(count * chunk_size - length, count)
    wider = min(overlap + rest, count - 1)  # this many junctions overlap by one base more
    chunk = np.arange(count, dtype=np.int64)
    start = chunk * chunk_size - (chunk * overlap + np.minimum(chunk, wider))
    return np.stack([start, np.minimum(start + chunk_size, length)], axis=1)
