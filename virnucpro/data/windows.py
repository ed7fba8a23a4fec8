"""Windows over proteins that are too long for the model."""

from itertools import pairwise
from typing import NamedTuple


class Window(NamedTuple):
    """Residues `begin` to `end` of a protein, of which `pool_begin` to `pool_end` count; half-open, from 0."""

    begin: int
    end: int
    pool_begin: int
    pool_end: int


def overlapping_windows(length: int, size: int) -> list[Window]:
    """Return windows of `size` residues that overlap by a quarter or more and end with the protein.

    Every residue counts in one window alone, that in which it lies further from the edge: the border between two
    windows is the middle of their overlap.

    Args:
        length: residues of the protein, more than `size`.
        size: residues a window.
    """
    step = size - size // 4
    count = 1 + -(-(length - size) // step)
    begins = [(length - size) * number // (count - 1) for number in range(count)]
    borders = [(begin + size + following) // 2 for begin, following in pairwise(begins)]
    pools = zip([0, *borders], [*borders, length], strict=True)
    return [Window(begin, begin + size, *pool) for begin, pool in zip(begins, pools, strict=True)]
