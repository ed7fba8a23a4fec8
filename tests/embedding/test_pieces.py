"""Windows over long proteins."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from virnucpro.embedding.pieces import overlapping_windows


@given(st.integers(1, 200), st.integers(1, 2000))
def test_every_residue_counts_once_and_windows_overlap(size: int, more: int) -> None:
    length = size + more
    windows = overlapping_windows(length, size)
    assert all(w.end - w.begin == size for w in windows)
    assert (windows[0].begin, windows[-1].end) == (0, length)
    assert [w.pool_begin for w in windows] == [0, *(w.pool_end for w in windows[:-1])]
    assert windows[-1].pool_end == length
    assert all(w.begin <= w.pool_begin < w.pool_end <= w.end for w in windows)
    assert all(w.end - following.begin >= size // 4 for w, following in pairwise(windows))


def test_a_border_is_the_middle_of_an_overlap() -> None:
    assert overlapping_windows(14, 8) == [(0, 8, 0, 7), (6, 14, 7, 14)]
