"""The features of a contig: by a slower way of counting, and the same for both strands."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.data.features import NAMES, STRETCHES, contig_features

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def slow_stretches(contig: str, stops: set[str]) -> tuple[list[int], list[int]]:
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
    forward, reverse = slow_stretches(contig, {"TAA", "TAG", "TGA"})
    both = forward + reverse
    codons = max(length / 3, 1)
    for shortest in STRETCHES:
        expected = sum(run for run in both if run >= shortest) / codons
        assert features[f"share_of_bases_in_stretches_of_{shortest}_codons"] == pytest.approx(expected)
    assert features["share_of_the_longest_stretch"] == pytest.approx(max(both) / codons)
    difference = sum(r for r in forward if r >= 100) - sum(r for r in reverse if r >= 100)
    assert features["difference_between_strands"] == pytest.approx(abs(difference) / codons)
    assert features["log_length"] == pytest.approx(math.log(length))
    assert np.isfinite(list(features.values())).all()


@given(st.text("ACGTN", min_size=1, max_size=2000))
def test_a_contig_and_its_reverse_complement_are_the_same(contig: str) -> None:
    opposite = contig.translate(COMPLEMENT)[::-1]
    np.testing.assert_allclose(contig_features(contig.encode()), contig_features(opposite.encode()), atol=1e-12)


def test_composition() -> None:
    features = dict(zip(NAMES, contig_features(b"CG" * 5000), strict=True))
    assert features["gc"] == pytest.approx(1, abs=1e-3)
    assert features["log_odds_of_CG"] == pytest.approx(math.log(2), abs=1e-2)
    assert features["log_odds_of_CC"] < -5


def test_stops_are_those_of_the_genetic_code() -> None:
    contig = b"GCCTAG" * 300
    open_share = NAMES.index("share_of_bases_in_stretches_of_50_codons")
    assert contig_features(contig, 15)[open_share] > contig_features(contig, 1)[open_share]
