"""Packing: first-fit decreasing, exactly, on plain numbers and on sequences."""

import csv
import logging
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from virnucpro.data import GreedyPacker
from virnucpro.data.packing import MAX_SEQUENCE_LENGTH, deal_bins, first_fit_decreasing
from virnucpro.errors import UserError


def textbook_ffd(tokens: list[int], budget: int) -> list[int]:
    """Place each sequence, longest first, into the first bin with room, as in textbooks."""
    rooms: list[int] = []
    assignment = [0] * len(tokens)
    for index in sorted(range(len(tokens)), key=lambda i: -tokens[i]):
        number = next((n for n, room in enumerate(rooms) if room >= tokens[index]), len(rooms))
        if number == len(rooms):
            rooms.append(budget)
        rooms[number] -= tokens[index]
        assignment[index] = number
    return assignment


@st.composite
def packing_problems(draw: st.DrawFn) -> tuple[list[int], int]:
    budget = draw(st.integers(1, 120))
    return draw(st.lists(st.integers(1, budget), max_size=80)), budget


@given(packing_problems())
def test_equals_textbook_first_fit_decreasing(problem: tuple[list[int], int]) -> None:
    tokens, budget = problem
    assert first_fit_decreasing(tokens, budget).tolist() == textbook_ffd(tokens, budget)


def test_a_bin_with_room_for_the_shortest_sequence_alone_stays_open() -> None:
    assert first_fit_decreasing([3, 2, 2, 2, 2, 1], 4).tolist() == [0, 1, 1, 2, 2, 0]


def test_equals_textbook_on_natural_lengths() -> None:
    tokens = np.random.default_rng(1).choice(natural_tokens(), 3000)
    assert first_fit_decreasing(tokens, 4096).tolist() == textbook_ffd(tokens.tolist(), 4096)


def natural_tokens() -> np.ndarray:
    with (ROOT / "benchmarks" / "lengths.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["kind"] == "protein"]
    lengths = np.repeat([int(row["length"]) for row in rows], [int(row["count"]) for row in rows])
    return np.minimum(lengths, MAX_SEQUENCE_LENGTH) + 2


@pytest.mark.parametrize("budget", [4096, 16384])
@pytest.mark.parametrize("count", [2000, 4000, 7861])
def test_at_most_one_bin_over_the_bound_on_natural_proteins(budget: int, count: int) -> None:
    for seed in range(5):
        tokens = np.random.default_rng(seed).permutation(natural_tokens())[:count]
        bins = first_fit_decreasing(tokens, budget).max() + 1
        assert bins <= -(-tokens.sum() // budget) + 1


def test_a_sequence_over_the_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="11 tokens does not fit a budget of 10"):
        first_fit_decreasing([3, 11], 10)


def sequences(*lengths: int) -> list[dict[str, str]]:
    return [{"id": f"p{number}", "sequence": "M" * length} for number, length in enumerate(lengths)]


def names(bins: list[list[dict[str, str]]]) -> list[list[str]]:
    return [[sequence["id"] for sequence in a_bin] for a_bin in bins]


def test_looks_at_all_open_bins_not_at_the_last_alone() -> None:
    # 60, 60, 40, 40 in bins of 100: next-fit makes three bins of it.
    assert names(GreedyPacker(100).pack_sequences(sequences(58, 58, 38, 38))) == [["p0", "p2"], ["p1", "p3"]]


def test_specials_count() -> None:
    assert len(GreedyPacker(20).pack_sequences(sequences(8, 8))) == 1
    assert len(GreedyPacker(19).pack_sequences(sequences(8, 8))) == 2


def test_order_of_input_does_not_matter() -> None:
    shuffled = sequences(*range(1, 60), *range(1, 60))
    expected = GreedyPacker(128).pack_sequences(shuffled)
    random.Random(0).shuffle(shuffled)
    assert GreedyPacker(128).pack_sequences(shuffled) == expected


def test_sorts_longest_first_ties_by_id() -> None:
    mixed = [{"id": name, "sequence": "M" * length} for name, length in [("b", 3), ("c", 5), ("a", 3)]]
    assert [s["id"] for s in GreedyPacker(10).sort_by_length(mixed)] == ["c", "a", "b"]


def test_long_sequences_are_truncated_flagged_and_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    given_sequences = [{"id": "long", "sequence": "ACDEFGHIKL"}, {"id": "short", "sequence": "MK"}]
    with caplog.at_level(logging.WARNING):
        (packed,) = GreedyPacker(100, max_sequence_length=4).pack_sequences(given_sequences)
    assert packed == [{"id": "long", "sequence": "ACDE", "truncated": True}, {"id": "short", "sequence": "MK"}]
    assert [record.getMessage() for record in caplog.records] == ["long: 10 residues, truncated to the N-terminal 4"]
    assert given_sequences[0] == {"id": "long", "sequence": "ACDEFGHIKL"}


def test_a_budget_below_one_sequence_names_it() -> None:
    with pytest.raises(UserError, match=r"budget of 20 .* 'p1' with its 32 tokens"):
        GreedyPacker(20).pack_sequences(sequences(3, 30))


def test_no_sequences_no_bins() -> None:
    assert GreedyPacker(100).pack_sequences([]) == []
    assert GreedyPacker(100).compute_efficiency([]) == 0.0


def test_efficiency_is_tokens_over_room() -> None:
    packer = GreedyPacker(100)
    assert packer.compute_efficiency(packer.pack_sequences(sequences(58, 58, 38, 28))) == pytest.approx(190 / 200)


@given(st.lists(st.integers(1, 4096), min_size=1, max_size=200), st.integers(1, 8))
def test_shards_are_balanced(tokens: list[int], shards: int) -> None:
    load = np.bincount(deal_bins(tokens, shards), weights=tokens, minlength=shards)
    assert load.sum() == sum(tokens)
    assert load.max() - load.min() <= max(tokens)
