"""Taxa by shared k-mers: on hits and models made by hand."""

import numpy as np
import pandas as pd
import pytest

from virnucpro.naming import RANKS
from virnucpro.naming.kmers import Index
from virnucpro.naming.references import RankModel, References
from virnucpro.naming.taxonomy import (
    FEATURES,
    closest_references,
    genome_of_class,
    kind_of,
    ranks_by_kmers,
    relation_features,
    taxa_at,
    taxa_of_ictv,
)

NOTHING = np.empty(0, np.int64)
NO_INDEX = Index(NOTHING.astype(np.uint32), NOTHING, np.zeros(1, np.int64), NOTHING)


def hits_of(*rows: tuple[int, int, int, int]) -> pd.DataFrame:
    """Return hits as `shared_kmers` does: owner, reference, shared and kmers."""
    return pd.DataFrame(rows, columns=["owner", "reference", "shared", "kmers"])


def references_of(*lineages: dict[str, str], ranks: RankModel | None = None) -> References:
    table = pd.DataFrame(lineages, columns=["record", "name", *RANKS, "species"], dtype=object).fillna("")
    return References(NO_INDEX, table, ranks)


def test_the_closest_reference_and_its_identity() -> None:
    hits = hits_of((0, 7, 128, 256), (0, 2, 100, 256), (2, 4, 10, 10), (3, 1, 2, 3), (5, 1, 3, 300), (6, 1, 3, 301))
    closest = closest_references(hits)
    assert closest.index.tolist() == [0, 2, 5], "two k-mers and less than 1 % are chance"
    assert closest["reference"].tolist() == [7, 4, 1]
    assert closest["share"].tolist() == [0.5, 1, 0.01]
    np.testing.assert_allclose(closest["identity"], [0.9057, 1, 0.5179], atol=1e-4)
    assert closest_references(hits[:0]).empty


def test_the_margin_is_to_the_closest_reference_of_another_taxon() -> None:
    taxa = pd.Series(["A", "A", "B", np.nan, ""])
    hits = hits_of(
        *[(0, 3, 90, 100), (0, 0, 80, 100), (0, 1, 60, 100), (0, 2, 20, 100), (0, 4, 10, 100)],
        *[(1, 1, 40, 200), (1, 0, 30, 200), (1, 2, 2, 200)],
        *[(2, 4, 50, 50), (2, 2, 50, 50)],
        (3, 3, 50, 50),
    )
    relation = relation_features(hits, taxa)
    assert relation.index.tolist() == [0, 1, 2], "the only hit of the last one is not placed"
    assert relation["reference"].tolist() == [0, 1, 4]
    assert relation["taxon"].tolist() == ["A", "A", ""]
    np.testing.assert_allclose(np.exp(relation["share"]), [0.8, 0.2, 1])
    np.testing.assert_allclose(np.exp(relation["shared"]), [80, 40, 50])
    np.testing.assert_allclose(relation["margin"], [0.75, 1, 0])


def test_taxa_at_a_rank() -> None:
    table = pd.DataFrame({"order": ["", "O", ""], "family": ["F", "", ""], "genus": ["G", "", "H"]})
    assert taxa_at(table, "family").fillna("-").tolist() == ["F", "-", ""]
    assert taxa_at(table, "order").fillna("-").tolist() == ["", "O", ""]
    assert taxa_at(table, "genus").fillna("-").tolist() == ["G", "-", "H"]


def test_the_probability_of_each_rank() -> None:
    weights = np.zeros((len(RANKS), len(FEATURES) + 1))
    weights[RANKS.index("class")] = [1, 0, 0, 0]  # share
    weights[RANKS.index("family")] = [0, 1, 0, -2]  # shared
    weights[RANKS.index("genus")] = [0, 0, 1, 3]  # margin
    model = RankModel(weights, np.zeros((len(RANKS), 3)))
    above = dict.fromkeys(RANKS[:4], "x") | {"order": "O"}
    known = references_of(above, above | {"family": "F", "genus": "G"}, above | {"genus": "H"}, ranks=model)
    hits = hits_of((0, 0, 60, 80), (0, 1, 40, 80), (0, 2, 30, 80), (4, 0, 20, 20), (5, 1, 1, 90))
    found = ranks_by_kmers(hits, known)
    assert found.index.tolist() == [0, 4]
    assert found[[*RANKS]].to_numpy().tolist()[0] == [0] * 5 + [1, 1]
    probabilities = found[["p_realm", "p_class", "p_family", "p_genus"]]
    odds = (probabilities / (1 - probabilities)).to_numpy(np.float64)
    np.testing.assert_allclose(odds[0], [1, 0.75, 40 * np.exp(-2), np.exp(3.25)])
    np.testing.assert_allclose(odds[1, :2], [1, 1])
    assert found.loc[4, ["family", "p_family", "genus", "p_genus"]].isna().all(), "its hit is not placed that low"
    assert ranks_by_kmers(hits[:0], known).empty


def test_references_of_a_user_prove_no_taxa() -> None:
    with pytest.raises(ValueError, match="without a model"):
        ranks_by_kmers(hits_of((0, 0, 60, 80)), references_of({"genus": "G"}))


@pytest.mark.parametrize(
    ("lineage", "genome", "host", "kind"),
    [
        ({"class": "Caudoviricetes"}, "dsDNA", "bacteria", "tailed phage"),
        ({"class": "Caudoviricetes"}, "dsDNA", "archaea", "tailed virus of archaea"),
        ({"class": "Caudoviricetes", "family": "Unheardviridae"}, "dsDNA", "", "tailed phage"),
        ({"class": "Faserviricetes"}, "ssDNA(+)", "bacteria", "filamentous phage"),
        ({"class": "Microviricetes"}, "ssDNA(+)", "bacteria", "microvirus"),
        ({"kingdom": "Orthornavirae", "class": "Leviviricetes"}, "ssRNA(+)", "bacteria", "RNA phage"),
        ({"kingdom": "Orthornavirae"}, "ssRNA(+)", "plants", "RNA virus of plants"),
        ({"kingdom": "Orthornavirae"}, "dsRNA", "", "RNA virus"),
        ({"kingdom": "Pararnavirae"}, "ssRNA-RT", "vertebrates", "reverse-transcribing virus of vertebrates"),
        ({"class": "Megaviricetes"}, "dsDNA", "protists", "giant virus of protists"),
        ({"class": "Megaviricetes"}, "dsDNA", "", "giant virus"),
        ({"class": "Pokkesviricetes"}, "dsDNA", "animals", "large DNA virus of animals"),
        ({"class": "Virophaviricetes"}, "dsDNA", "protists", "virophage"),
        ({"class": "Repensiviricetes"}, "ssDNA(+/-)", "plants", "single-stranded DNA virus of plants"),
        ({"realm": "Adnaviria"}, "dsDNA", "archaea", "double-stranded DNA virus of archaea"),
        ({}, "dsDNA-RT", "", "double-stranded DNA virus"),
        ({}, "ssRNA(-)", "", "RNA virus"),
        ({}, "", "bacteria", ""),
        ({"realm": "Unheardviria"}, "", "", ""),
    ],
)
def test_the_kind_of_a_virus(lineage: dict[str, str], genome: str, host: str, kind: str) -> None:
    assert kind_of(lineage, genome, host) == kind


def test_taxa_of_ictv() -> None:
    table = taxa_of_ictv()
    assert table.index.is_unique
    assert table.index.names == ["rank", "taxon"]
    assert set(table.index.get_level_values("rank")) == set(RANKS)
    known = table[["genome", "host"]].to_dict("index")
    assert known["family", "Geminiviridae"] == {"genome": "ssDNA(+/-)", "host": "plants"}
    assert known["genus", "Lambdavirus"] == {"genome": "dsDNA", "host": "bacteria"}


def test_the_genome_of_a_class() -> None:
    assert genome_of_class("Caudoviricetes") == "dsDNA"
    assert genome_of_class("Revtraviricetes") == "", "it has several"
    assert genome_of_class("") == genome_of_class("Unheardviricetes") == genome_of_class("Geminiviridae") == ""
