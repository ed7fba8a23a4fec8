"""Topology of contigs: built with repeats at their ends, and by definition."""

import time
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.data.records import Record
from virnucpro.naming.topology import ends_of, topologies
from virnucpro.proteins.translation import reverse_complement


def random_bases(length: int, seed: int) -> bytes:
    return bytes(np.random.default_rng(seed).choice(list(b"ACGT"), length).tolist())


def with_dtr(length: int, seed: int = 0, total: int = 2000) -> bytes:
    """Return a contig with a DTR of just this length: the bases beside its two copies differ."""
    end = random_bases(length, seed)
    return end + b"A" + random_bases(total - 2 * length - 2, seed + 1) + b"C" + end


def with_itr(length: int, seed: int = 0, total: int = 2000) -> bytes:
    end = random_bases(length, seed)
    return end + b"A" + random_bases(total - 2 * length - 2, seed + 1) + b"A" + reverse_complement(end)


def topology_of(letters: bytes) -> tuple[str, int | None]:
    [(topology, length)] = topologies([ends_of(Record(b"contig", letters))]).itertuples(index=False)
    return topology, None if pd.isna(length) else int(length)


@pytest.mark.parametrize("length", [20, 160, 10_000])
def test_repeats_at_both_ends(length: int) -> None:
    assert topology_of(with_dtr(length, total=40_000)) == ("DTR", length)
    assert topology_of(with_itr(length, total=40_000)) == ("ITR", length)


@pytest.mark.parametrize(
    "letters",
    [
        pytest.param(b"", id="empty"),
        pytest.param(random_bases(39, 0), id="too short"),
        pytest.param(random_bases(2000, 0), id="no repeat"),
        pytest.param(with_dtr(19), id="19 bp, direct"),
        pytest.param(with_itr(19), id="19 bp, inverted"),
        pytest.param(random_bases(30, 0) * 5, id="tandem repeat"),
        pytest.param(random_bases(300, 0) * 2 + random_bases(300, 0)[:100], id="two copies and a third of one"),
        pytest.param(random_bases(300, 0) + reverse_complement(random_bases(300, 0)), id="palindrome"),
    ],
)
def test_no_terminal_repeat(letters: bytes) -> None:
    assert topology_of(letters) == ("", None)


def test_a_direct_repeat_is_at_most_half_of_a_contig() -> None:
    unit = random_bases(100, 0)
    assert topology_of(unit + unit) == ("DTR", 100)
    assert topology_of(unit + unit + unit[:1]) == ("", None)
    assert topology_of(unit[:20] + unit[:20]) == ("DTR", 20), "the shortest contig with a repeat"


@pytest.mark.parametrize("letter", [b"N", b"R"])
def test_ambiguous_letters_are_no_repeat(letter: bytes) -> None:
    end, middle = random_bases(80, 0) + letter + random_bases(79, 1), random_bases(1000, 2)
    assert topology_of(end + middle + end) == ("", None)
    assert topology_of(end + middle + reverse_complement(end)) == ("", None)
    assert topology_of(end[:80] + letter + middle + letter + end[:80]) == ("DTR", 80)


@pytest.mark.parametrize("end", [b"A" * 200, b"AC" * 10, b"GAT" * 40, b"GATCC" * 12, b"A" * 11 + b"CGT" + b"A" * 8])
def test_low_complexity_is_no_repeat(end: bytes) -> None:
    middle = b"C" + random_bases(1000, 0) + b"G"
    assert topology_of(end + middle + end) == ("", None)
    assert topology_of(end + middle + reverse_complement(end)) == ("", None)


def test_random_repeats_of_20_bp_are_seldom_refused() -> None:
    table = topologies(ends_of(Record(b"%d" % seed, random_bases(20, seed) * 2)) for seed in range(2000))
    assert table.terminal_repeat.isna().sum() <= 6


def test_the_longer_of_two_repeats_counts() -> None:
    palindrome = random_bases(15, 0) + reverse_complement(random_bases(15, 0))
    end, middle = palindrome + b"AC" + random_bases(20, 1) + palindrome, random_bases(1000, 2)
    assert topology_of(palindrome + middle + palindrome) == ("DTR", 30), "both are of 30 bp"
    assert topology_of(end + middle + end) == ("DTR", 82), "the ITR is the palindrome"
    assert topology_of(end + middle + reverse_complement(end)) == ("ITR", 82), "the DTR is the palindrome"


def test_the_header_says_circular() -> None:
    circles = {random_bases(2000, 0): 99, with_dtr(55): 0, with_itr(55): 0}
    table = topologies(ends_of(Record(b"c", letters, circular=True, repeat=cut)) for letters, cut in circles.items())
    assert table.topology.tolist() == ["circular"] * 3
    assert table.terminal_repeat.tolist() == [99, pd.NA, pd.NA], "the repeat was cut when the contig was read"


@pytest.mark.parametrize(("build", "kind"), [(with_dtr, "DTR"), (with_itr, "ITR")])
def test_a_length_that_contigs_share_is_an_assemblers_k(build: Callable[[int, int], bytes], kind: str) -> None:
    def sample(*lengths: int) -> pd.DataFrame:
        return topologies(ends_of(Record(b"c%d" % i, build(length, 2 * i))) for i, length in enumerate(lengths))

    table = sample(141, 160, 141, 99, 141, 99, 0)
    assert table.index.tolist() == [f"c{i}" for i in range(7)]
    assert table.topology.tolist() == ["", kind, "", kind, "", kind, ""]
    assert table.terminal_repeat.tolist() == [141, 160, 141, 99, 141, 99, pd.NA]
    assert sample(255, 255, 255, *[300] * 3).topology.tolist() == [""] * 3 + [kind] * 3, "k is 255 or less"
    assert sample(*[55] * 3, *range(100, 157)).topology.tolist() == [""] * 3 + [kind] * 57, "5 % of 60"
    assert sample(*[55] * 3, *range(100, 158)).topology.tolist() == [kind] * 61


def test_k_is_counted_by_kind_and_with_circular_contigs() -> None:
    direct, inverted = [with_dtr(77, seed) for seed in (0, 2, 4)], [with_itr(77, seed) for seed in (6, 8)]
    contigs = [Record(b"%d" % i, letters) for i, letters in enumerate(direct + inverted)]
    contigs[0] = Record(b"0", direct[0][:-77], circular=True, repeat=77)
    assert topologies(map(ends_of, contigs)).topology.tolist() == ["circular", "", "", "ITR", "ITR"]
    contigs += [Record(b"d%d" % length, with_dtr(length, length)) for length in range(100, 160)]
    assert topologies(map(ends_of, contigs)).topology.tolist()[1:5] == ["DTR", "DTR", "ITR", "ITR"], "3 of 63"
    contigs.append(Record(b"i", with_itr(77, 10)))
    assert topologies(map(ends_of, contigs)).topology.tolist()[1:5] == ["DTR", "DTR", "", ""], "3 of 3"


def test_of_no_contigs() -> None:
    table = topologies([])
    assert table.empty
    assert table.columns.tolist() == ["topology", "terminal_repeat"]
    assert str(table.terminal_repeat.dtype) == "Int64"


BLOCKS = [random_bases(9, seed) for seed in range(3)]
BLOCKS += [reverse_complement(block) for block in BLOCKS] + [b"A", b"AT", b"N"]


@given(st.lists(st.sampled_from(BLOCKS), max_size=8), st.lists(st.sampled_from(BLOCKS), max_size=8), st.integers(0, 2))
def test_by_definition_and_on_both_strands(end: list[bytes], middle: list[bytes], copies: int) -> None:
    letters = b"".join(end + middle + end * copies)
    direct = [n for n in range(1, len(letters)) if letters[:n] == letters[-n:]]
    inverted = [n for n in range(1, len(letters) + 1) if letters[:n] == reverse_complement(letters[-n:])]
    lengths = {kind: max(found, default=0) for kind, found in (("DTR", direct), ("ITR", inverted))}
    true = {kind: n for kind, n in lengths.items() if 20 <= n <= len(letters) / 2 and is_complex(letters[:n])}
    kind = max(true, key=lambda kind: true[kind], default="")
    assert topology_of(letters) == (kind, true.get(kind))
    assert topology_of(reverse_complement(letters)) == (kind, true.get(kind))


def is_complex(repeat: bytes) -> bool:
    triplets = [repeat[i : i + 3] for i in range(len(repeat) - 2)]
    equal = [a == b for a, b in combinations(triplets, 2)]
    return set(repeat) <= set(b"ACGT") and sum(equal) < 0.1 * len(equal)


@pytest.mark.parametrize("end", [b"", b"C", b"C" + b"A" * 19], ids=["homopolymer", "C at the end", "C near the end"])
def test_long_homopolymers_take_no_time(end: bytes) -> None:
    before = time.process_time()
    assert topology_of(b"A" * 5_000_000 + end) == ("", None)
    assert topology_of(b"A" * 2_500_000 + b"C" + b"A" * 2_500_000 + end) == ("", None)
    assert time.process_time() - before < 5, "hours if quadratic"
