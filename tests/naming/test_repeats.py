"""Direct repeats: all of them, their expected number, and those that may be attachment sites."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.naming.repeats import LONGEST_SITE, SHORTEST, direct_repeats, possible_sites

SITE = b"GGTTCGAATCCTGCTAGCCACTTGATTACGAGC"


def bases(length: int, seed: int, weights: tuple[int, ...] = (1, 1, 1, 1)) -> bytes:
    return bytes(random.Random(seed).choices(b"ACGT", weights, k=length))


def longest_matches(left: bytes, right: bytes) -> list[tuple[int, int, int]]:
    """Return all matches of ten and more bases that are the longest in both directions, by trying every pair."""
    found = []
    for i in range(len(left)):
        for j in range(len(right)):
            length = 0
            while i + length < len(left) and j + length < len(right) and left[i + length] == right[j + length] != 78:
                length += 1
            begins = not (i and j and left[i - 1] == right[j - 1] != 78)
            if length >= SHORTEST and begins:
                found.append((i, j, length))
    return found


@given(st.text("ACN", max_size=40), st.text("ACN", max_size=40), st.text("ACGT", max_size=20))
def test_every_repeat_is_found_once_in_its_full_length(first: str, second: str, shared: str) -> None:
    left, right = (shared + first).encode(), (second + shared).encode()
    found = direct_repeats(left, right)
    triples = zip(found.left.tolist(), found.right.tolist(), found.lengths.tolist(), strict=True)
    assert sorted(triples) == longest_matches(left, right)


def test_shuffled_sequences_have_the_expected_number_of_repeats() -> None:
    counts, expected = [], 0.0
    for seed in range(20):
        left, right = bases(8000, seed, (3, 1, 1, 3)), bases(8000, 1000 + seed, (3, 1, 2, 3))
        found = direct_repeats(left, right)
        counts.append((found.lengths >= 12).sum())
        expected = 10 ** float(found.log_expected[found.lengths == 12][0])
    # Each repeat is counted once and not at each of its positions, so there are a quarter fewer than matches of 12.
    assert 0.6 * expected < np.mean(counts) < expected


def test_a_site_is_unlikely_short_and_not_simple() -> None:
    def sites(copy: bytes) -> list[tuple[int, int, int]]:
        letters = b"".join([bases(3000, 1), b"N", copy, b"N", bases(6000, 2), b"N", copy, b"N", bases(3000, 3)])
        middle = len(letters) // 2
        found = possible_sites(letters, (100, middle), (middle, len(letters)))
        return list(zip(found.left.tolist(), found.right.tolist(), found.lengths.tolist(), strict=True))

    assert sites(SITE) == [(3001, 9003 + len(SITE), len(SITE))]
    assert sites(SITE[:12]) == []  # expected by chance
    assert sites(bases(LONGEST_SITE + 1, 4)) == []  # a copy of a gene
    assert sites(b"AT" * 20) == []  # a microsatellite
