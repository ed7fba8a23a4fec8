"""Statements of taxa, by k-mers and by embeddings, and their columns."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.naming.test_heads import DESCRIBED, TAXA
from tests.naming.test_taxonomy import references_of
from virnucpro.naming import RANKS
from virnucpro.naming.names import (
    NO_FAMILY,
    NOT_CLOSE,
    Statement,
    combine,
    describe_statement,
    functions_of,
    likeliest,
    state_by_embeddings,
    state_by_kmers,
)
from virnucpro.naming.references import RankModel

LAMBDA = dict(zip(RANKS, [*TAXA[0].values(), "", "", "Lambdavirus"], strict=True))
PICORNA = TAXA[1] | {"order": "Picornavirales", "family": "Picornaviridae", "genus": "Enterovirus"}
LIMITS = np.array([[0.9, 0.8, 0.7]] * 6 + [[0.95, 0.9, 0.85]])
KNOWN = references_of(LAMBDA, PICORNA, {"realm": "Riboviria"}, ranks=RankModel(np.zeros((7, 4)), LIMITS))


def row_of(reference: int, *probabilities: float) -> dict[str, Any]:
    """Return a row of `ranks_by_kmers`: one reference at the ranks with a probability, from realm down."""
    padded = [*probabilities, *[np.nan] * (7 - len(probabilities))]
    of_ranks = {rank: np.nan if np.isnan(p) else float(reference) for rank, p in zip(RANKS, padded, strict=True)}
    return of_ranks | {f"p_{rank}": p for rank, p in zip(RANKS, padded, strict=True)}


def lineage_to(rank: str, lineage: dict[str, str]) -> dict[str, str]:
    return {one: lineage[one] for one in RANKS[: RANKS.index(rank) + 1]}


def statement(lineage: dict[str, str], rank: str, score: float = 0.9) -> Statement:
    return Statement(lineage_to(rank, lineage), rank, score)


def test_the_lowest_rank_that_reaches_the_limit_of_its_length() -> None:
    row = row_of(1, 0.99, 0.99, 0.99, 0.99, 0.85, 0.75, 0.88)
    by_length = [state_by_kmers(row, KNOWN, length) for length in (1000, 1500, 4999, 5000)]
    assert by_length[0] == (statement(PICORNA, "class", 0.99), "")
    assert by_length[1] == by_length[2] == (statement(PICORNA, "order", 0.85), "")
    assert by_length[3] == (statement(PICORNA, "genus", 0.88), "")
    assert state_by_kmers(row_of(1, *[0.69] * 7), KNOWN, 9000) == (None, "")
    assert state_by_kmers(row_of(1, 0.7), KNOWN, 9000) == (statement(PICORNA, "realm", 0.7), "")
    assert state_by_kmers(row_of(1), KNOWN, 9000) == (None, "")


def test_the_lineage_is_that_of_the_reference_at_the_lowest_rank() -> None:
    row = row_of(0, *[0.99] * 7) | {"genus": 1.0}
    assert state_by_kmers(row, KNOWN, 9000)[0] == statement(PICORNA, "genus", 0.99)


def test_ranks_where_ictv_has_no_taxon() -> None:
    assert state_by_kmers(row_of(0, *[0.99] * 7), KNOWN, 9000) == (statement(LAMBDA, "genus", 0.99), NO_FAMILY)
    proven, note = state_by_kmers(row_of(0, *[0.99] * 5, 0.8, 0.1), KNOWN, 9000)
    assert note == NO_FAMILY
    assert proven
    assert (proven.rank, proven.score) == ("class", 0.8), "the family that is proven is none"
    assert proven.lineage == lineage_to("family", LAMBDA)
    proven, note = state_by_kmers(row_of(0, *[0.99] * 5, 0.1, 0.1), KNOWN, 9000)
    assert (proven and proven.rank, note) == ("class", "")
    nameless = references_of({}, ranks=KNOWN.ranks)
    assert state_by_kmers(row_of(0, *[0.99] * 6), nameless, 9000) == (None, NO_FAMILY)


def test_embeddings_prove_ranks_down_to_class() -> None:
    def state(*probabilities: float, length: int = 2000) -> Statement | None:
        return state_by_embeddings(np.array(probabilities, np.float32), DESCRIBED, length)

    proven = state(0.92, 0.08)
    assert proven
    assert (proven.lineage, proven.rank) == (TAXA[0], "class")
    assert proven.score == pytest.approx(0.92)
    assert state(0.92, 0.08, length=1000) is None
    assert state(0.92, 0.08, length=9000) is None, "no such limit"
    assert state(0.01, 0.99) is None, "a taxon without limits"


def test_probabilities_of_classes_add_up_above_them() -> None:
    taxa = tuple(TAXA[0] | {"class": name, "phylum": phylum} for name, phylum in (("A", "P"), ("B", ""), ("C", "")))
    limits = {rank: {TAXA[0].get(rank, ""): [0.9] * 3} for rank in ("realm", "kingdom")}
    limits |= {"phylum": {"P": [0.9] * 3, "": [0] * 3}, "class": {name: [0.9] * 3 for name in "ABC"}}
    described = replace(DESCRIBED, taxa=taxa, taxon_limits=limits)
    proven = state_by_embeddings(np.array([0.2, 0.5, 0.3], np.float32), described, 2000)
    assert proven
    assert (proven.lineage, proven.rank) == (lineage_to("kingdom", TAXA[0]), "kingdom")
    assert proven.score == pytest.approx(1)
    taxon, probability = likeliest(np.array([0.4, 0.35, 0.25], np.float32), ["a", "b", "b"])
    assert (taxon, round(probability, 6)) == ("b", 0.6)


PHAGE, OTHER = statement(TAXA[0], "class"), statement(TAXA[1], "class")


@pytest.mark.parametrize(
    ("by_kmers", "note", "by_embeddings", "stated", "notes"),
    [
        (None, "", None, None, ""),
        (statement(LAMBDA, "genus"), NO_FAMILY, PHAGE, statement(LAMBDA, "genus"), NO_FAMILY),
        (statement(LAMBDA, "genus"), "", None, statement(LAMBDA, "genus"), ""),
        (statement(PICORNA, "family"), "", OTHER, statement(PICORNA, "family"), ""),
        (statement(PICORNA, "family"), "", PHAGE, statement(PICORNA, "family"), "embeddings say Caudoviricetes"),
        (statement(PICORNA, "order"), "", OTHER, statement(PICORNA, "order"), NOT_CLOSE),
        (statement(TAXA[0], "realm"), "", PHAGE, PHAGE, NOT_CLOSE),
        (statement(TAXA[1], "realm"), "", PHAGE, PHAGE, f"{NOT_CLOSE}; shared k-mers say Riboviria"),
        (statement(TAXA[1], "class"), "", PHAGE, OTHER, f"{NOT_CLOSE}; embeddings say Caudoviricetes"),
        (statement(TAXA[1], "class"), NO_FAMILY, PHAGE, OTHER, f"{NO_FAMILY}; embeddings say Caudoviricetes"),
        (None, "", PHAGE, PHAGE, NOT_CLOSE),
        (None, NO_FAMILY, PHAGE, PHAGE, NO_FAMILY),
    ],
)
def test_two_statements_become_one(
    by_kmers: Statement | None, note: str, by_embeddings: Statement | None, stated: Statement | None, notes: str
) -> None:
    assert combine(by_kmers, note, by_embeddings) == (stated, notes)


def test_the_columns_of_a_statement() -> None:
    assert describe_statement(statement(LAMBDA, "genus", 0.98765), NO_FAMILY, "ssRNA(+)") == {
        "taxonomy": "Viruses;Duplodnaviria;Heunggongvirae;Uroviricota;Caudoviricetes;;;Lambdavirus",
        "taxon_rank": "genus",
        "taxon_score": "0.988",
        "taxon_note": NO_FAMILY,
        "taxon_length": "",
        "genome": "dsDNA",
        "virus": "tailed phage",
    }
    found = describe_statement(statement(PICORNA, "family"), "")
    assert (found["genome"], found["virus"]) == ("ssRNA(+)", "RNA virus of vertebrates")
    no_family = Statement(lineage_to("family", LAMBDA), "class", 0.8)
    assert describe_statement(no_family, "")["taxonomy"] == "Viruses;" + ";".join(TAXA[0].values())


def test_the_genome_of_embeddings_fills_in() -> None:
    nothing = {"taxonomy": "", "taxon_rank": "", "taxon_score": "", "taxon_length": "", "taxon_note": "n"}
    assert describe_statement(None, "n") == nothing | {"genome": "", "virus": ""}
    assert describe_statement(None, "n", "dsDNA") == nothing | {"genome": "dsDNA", "virus": "double-stranded DNA virus"}
    several = describe_statement(statement({"realm": "Riboviria"}, "realm"), "", "ssRNA(-)")
    assert (several["genome"], several["virus"]) == ("ssRNA(-)", "RNA virus")


def test_a_taxon_that_ictv_lacks() -> None:
    found = describe_statement(statement({"realm": "Riboviria", "kingdom": "Minevirae"}, "kingdom"), "", "dsRNA")
    assert found["taxonomy"] == "Viruses;Riboviria;Minevirae"
    assert found["genome"] == "dsRNA"


def test_functions_from_their_limits() -> None:
    described = replace(DESCRIBED, functions=("a", "b", "other"), function_limits=(0.5, 0.75, 2.0))
    probabilities = np.array([[0.5, 0.3, 0.2], [0.45, 0.3, 0.25], [0.2, 0.75, 0.05], [0, 0.74, 0.26], [0, 0, 1]])
    found = functions_of(probabilities.astype(np.float32), described)
    assert found["function"].tolist() == ["a", "", "b", "", ""]
    np.testing.assert_array_equal(found["function_score"], [0.5, np.nan, 0.75, np.nan, np.nan])
    assert functions_of(np.zeros((0, 3), np.float32), described).columns.tolist() == ["function", "function_score"]


def test_lengths_of_complete_genomes_are_those_of_the_lowest_taxon() -> None:
    hepadna = {"realm": "Riboviria", "kingdom": "Pararnavirae", "phylum": "Artverviricota", "class": "Revtraviricetes"}
    hepadna |= {"order": "Blubervirales", "family": "Hepadnaviridae"}
    shortest, longest = describe_statement(statement(hepadna, "family"), "")["taxon_length"].split("-")
    assert 3000 < int(shortest) <= int(longest) < 3600
    assert describe_statement(statement(hepadna, "order"), "")["taxon_length"] == ""
