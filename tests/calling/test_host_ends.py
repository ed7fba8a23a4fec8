"""Viral contigs with ends of the host: phages joined with pieces of a chromosome, of known borders."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.calling.regions import HOST_ENDS, Region, find_regions, viral_posterior, without_host_ends

GENE = 1_000


def of_contig(log_odds: list[float], call: str = "viral", circles: tuple[str, ...] = ()) -> Region | None:
    """Return the first region of a contig of genes of 1 kb, end to end, and 100 bases at each end."""
    starts = 100 + GENE * np.arange(len(log_odds))
    genes = pd.DataFrame({"contig": "c", "start": starts, "end": starts + GENE, "log_odds": log_odds})
    calls = {"contig": ["c"], "length": [GENE * len(log_odds) + 200], "call": [call], "genes": [len(log_odds)]}
    return next(
        iter(find_regions(pd.DataFrame(calls | {"score": ["0.9900"]}), genes, circles=circles).get("c", [])), None
    )


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (0, 0, ("c", 0, 20_200, "")),
        (6, 0, ("c|virus_6101_26200", 6_100, 26_200, "left: 6 host genes; right: contig end")),
        (0, 6, ("c|virus_1_20100", 0, 20_100, "left: contig end; right: 6 host genes")),
        (9, 8, ("c|virus_9101_29100", 9_100, 29_100, "left: 9 host genes; right: 8 host genes")),
        (1, 1, ("c", 0, 22_200, "")),  # one gene is not an end
    ],
)
def test_ends_of_the_host_are_left_out(left: int, right: int, expected: tuple[str, int, int, str]) -> None:
    found = of_contig([-3.0] * left + [3.0] * 20 + [-3.0] * right)
    assert found
    assert (found.name, found.start, found.end, found.borders) == expected
    assert found.score == 0.99
    assert (found.is_provirus, found.is_whole) == (False, expected[0] == "c")
    assert found.genes == (20 if found.name != "c" else 20 + left + right)


def test_genes_of_the_host_within_a_virus_stay() -> None:
    found = of_contig([3.0] * 12 + [-3.0] * 9 + [3.0] * 12)
    assert found and found.is_whole


def test_a_circle_has_no_ends() -> None:
    found = of_contig([-3.0] * 9 + [3.0] * 20, circles=("c",))
    assert found and found.is_whole


def test_a_weakly_viral_middle_is_no_reason_to_cut() -> None:
    log_odds = [-2.0] * 9 + [1.4] * 20
    viral = viral_posterior((HOST_ENDS.weight * np.array(log_odds)).tolist(), HOST_ENDS) > 0.5
    assert viral.tolist() == [False] * 9 + [True] * 20, "the chain alone would cut"
    found = of_contig(log_odds)
    assert found and found.is_whole


def test_a_name_that_another_contig_has_gets_a_number() -> None:
    genes = pd.DataFrame({"start": range(0, 29_000, GENE), "end": range(GENE, 30_000, GENE)})
    genes["log_odds"] = [-3.0] * 9 + [3.0] * 20
    whole = Region("c", 0, 29_000, 29, 0.99, "c")
    assert without_host_ends(whole, genes, {"c|virus_9001_29000"}).name == "c|virus_9001_29000_2"


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=60))
def test_what_is_left_begins_and_ends_with_a_viral_gene(log_odds: list[float]) -> None:
    found = of_contig(log_odds)
    assert found and 0 <= found.start < found.end <= GENE * len(log_odds) + 200
    if not found.is_whole:
        inside = log_odds[-(-found.start // GENE) - (found.start > 0) : (found.end - 100) // GENE]
        assert found.genes == len(inside) and np.clip(inside, -4, 4).mean() >= 1.5
