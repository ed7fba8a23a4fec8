"""The features of a contig: by a slower way of counting, and the same for both strands."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.calling.features import NAMES, contig_features

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def slow_open_runs(contig: str, stops: set[str]) -> tuple[list[int], list[int]]:
    found = []
    for strand in (contig, contig.translate(COMPLEMENT)[::-1]):
        runs = []
        for offset in range(3):
            codons = [strand[i : i + 3] for i in range(offset, len(strand) - 2, 3)]
            marks = "".join("x" if codon in stops or "N" in codon else "." for codon in codons)
            runs += [len(run) for run in marks.split("x")]
        found.append(runs)
    return found[0], found[1]


@given(st.integers(0, 10_000), st.integers(1, 4000), st.sampled_from(["ACGT", "ACG", "ACGTN", "AT"]))
def test_equals_counting_codon_by_codon(seed: int, length: int, letters: str) -> None:
    contig = "".join(random.Random(seed).choices(letters, k=length))
    features = dict(zip(NAMES, contig_features(contig.encode()), strict=True))
    forward, reverse = slow_open_runs(contig, {"TAA", "TAG", "TGA"})
    codons = max(length / 3, 1)
    assert features["longest_orf"] == pytest.approx(max(forward + reverse) / codons)
    difference = sum(r for r in forward if r >= 100) - sum(r for r in reverse if r >= 100)
    assert features["difference_between_strands"] == pytest.approx(abs(difference) / codons)


@given(st.text("ACGTN", min_size=1, max_size=2000))
def test_a_contig_and_its_reverse_complement_are_the_same(contig: str) -> None:
    opposite = contig.translate(COMPLEMENT)[::-1]
    np.testing.assert_array_equal(contig_features(contig.encode()), contig_features(opposite.encode()))


def test_stops_are_those_of_the_genetic_code() -> None:
    contig = b"GCCTAGTTA" * 300  # TAG ends one frame, TTA (TAA) one of the other strand; shifted, others end the rest
    longest = NAMES.index("longest_orf")
    assert contig_features(contig, 15)[longest] > 0.9
    assert contig_features(b"GCCTAGTTACTA" * 300, 1)[longest] < contig_features(b"GCCTAGTTACTA" * 300, 15)[longest]
