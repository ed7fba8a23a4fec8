"""Chunks: the spans of the original, by the published formula and by their properties."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.proteins.chunking import chunk_spans


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [
        (0, 500, []),
        (2, 500, [[0, 2]]),
        (500, 500, [[0, 500]]),
        (1500, 500, [[0, 500], [500, 1000], [1000, 1500]]),
        # 1,501 bp: four chunks, 499 bp too many; 124 + 3 = three junctions wider by one.
        (1501, 500, [[0, 500], [375, 875], [750, 1250], [1125, 1501]]),
        # 10 bp in fours: three chunks, two too many, q = 0 and r = 2: both junctions overlap by one.
        (10, 4, [[0, 4], [3, 7], [6, 10]]),
    ],
)
def test_known_spans(length: int, size: int, expected: list[list[int]]) -> None:
    assert chunk_spans(length, size).tolist() == expected


@given(st.integers(1, 20_000), st.integers(1, 700))
def test_formula(length: int, size: int) -> None:
    spans = chunk_spans(length, size).tolist()
    n = (length + size - 1) // size
    q, r = divmod(n * size - length, n)
    u = min(q + r, n - 1)
    assert [start for start, _ in spans] == [k * size - (k * q + min(k, u)) for k in range(n)]
    assert spans[-1][1] == length
    assert all(end - start == size for start, end in spans[:-1])
    assert all(0 < end - start <= size for start, end in spans)
    assert all(following[0] <= span[1] for span, following in pairwise(spans))
