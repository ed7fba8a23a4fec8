"""The function head, fitted to simulated proteins with vague, wrong and unnamed labels."""

import numpy as np
import pandas as pd
import pytest

from tests.training.test_heads import quick  # noqa: F401
from virnucpro.data.arrays import Rows
from virnucpro.naming.heads import NEVER
from virnucpro.training import functions
from virnucpro.training.functions import CELLULAR, FittedFunctions, fit_functions
from virnucpro.training.heads import FittedHead, Sets, fit_head

CATEGORIES = ("cellular", "holin", "other", "portal protein")


def made(clusters: int = 40, members: int = 6) -> tuple[Rows, pd.DataFrame]:
    """Return proteins of clusters, of the four categories in turn, which their inputs tell apart."""
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(clusters), members)
    inputs = rng.normal(size=(len(cluster), 6))
    inputs[np.arange(len(cluster)), cluster % 4] += 8
    table = pd.DataFrame({"category": np.array(CATEGORIES, object)[cluster % 4], "cluster": [f"c{n}" for n in cluster]})
    return inputs.astype(np.float32), table.assign(copies=[f"p{n}" for n in range(len(table))])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "HIDDEN", 16)
    monkeypatch.setattr(functions, "EPOCHS", 30)


def row(fitted: FittedFunctions, category: str) -> dict[str, float]:
    of_category = fitted.measured["category"] == category
    return {str(name): value for name, value in fitted.measured[of_category].to_dict("records")[0].items()}


def test_categories_are_learned_limited_and_measured() -> None:
    inputs, table = made()
    fitted = fit_functions(inputs, table, 0)
    assert fitted.categories == list(CATEGORIES)
    assert fitted.measured["category"].tolist() == list(CATEGORIES)
    assert not fitted.contradicted.any()
    for category, limit in zip(fitted.categories, fitted.limits, strict=True):
        of = row(fitted, category)
        assert (of["proteins"], of["clusters"]) == (60, 10)
        if category == "other":
            assert limit == NEVER
            assert of["named"] == 0
            assert np.isnan(of["right"])
        else:
            assert limit <= 1
            assert of["named"] > 0.8
            assert of["right"] >= 0.95


def test_a_cluster_is_in_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, table = made()
    given: list[Sets] = []

    def seen(sets: Sets, *settings: int) -> FittedHead:
        given.append(sets)
        return fit_head(sets, settings[0], settings[1], settings[2])

    monkeypatch.setattr(functions, "fit_head", seen)
    fit_functions(inputs, table, 0)
    assert len(given) == 2, "with and without contradicted labels"
    folds = pd.Series(given[0].folds).groupby(table["cluster"]).nunique()
    assert (folds == 1).all()
    assert np.bincount(given[0].folds).tolist() == [48] * 5


def test_wrong_labels_are_found_and_not_learned_from() -> None:
    inputs, table = made(members=12)
    wrong = np.array([3, 200, 400])
    assert table["category"].to_numpy()[wrong].tolist() == [CELLULAR, CELLULAR, "holin"]
    table.loc[wrong, "category"] = ["portal protein", "holin", CELLULAR]
    fitted = fit_functions(inputs, table, 0)
    assert np.flatnonzero(fitted.contradicted).tolist() == [3, 200], "genes of cells are kept, whatever they look like"
    assert fitted.head.probabilities[wrong].argmax(axis=1).tolist() == [0, 0, 1]
    assert fitted.measured["proteins"].sum() == len(table) - 2


def test_vague_labels_are_right_with_any_of_their_categories() -> None:
    inputs, table = made()
    vague = np.arange(6, 12)  # a cluster of holins
    assert set(table.loc[vague, "category"]) == {"holin"}
    table.loc[vague, "category"] = "holin|portal protein"
    fitted = fit_functions(inputs, table, 0)
    assert fitted.categories == list(CATEGORIES)
    assert (fitted.head.probabilities[vague].argmax(axis=1) == 1).all()
    assert not fitted.contradicted.any()
    assert row(fitted, "holin")["proteins"] == 54
    assert row(fitted, "holin")["right"] >= 0.95


def test_near_copies_count_as_one_protein() -> None:
    _, table = made(2, 6)
    table["copies"] = ["a", "a", "a", "a", "b", "c", *"defghi"]
    weights = functions._weights(table)
    np.testing.assert_allclose(weights, [1 / 4 / 3**0.5] * 4 + [3**-0.5] * 2 + [6**-0.5] * 6)
    inputs, table = made()
    table.loc[:11, "copies"] = ["one"] * 6 + ["two"] * 6
    fitted = fit_functions(inputs, table, 0)
    assert [row(fitted, category)["proteins"] for category in CATEGORIES] == [55, 55, 60, 60]
