"""Taxa: left-out hits, regressions over shared k-mers, and the taxon head, on simulated fragments and hits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.data.test_embeddings import DESCRIPTION
from tests.naming.test_heads import TAXA
from tests.naming.test_taxonomy import hits_of, references_of
from tests.training.test_heads import quick  # noqa: F401
from virnucpro.data.arrays import Rows
from virnucpro.naming import CLASSES, RANKS
from virnucpro.naming.heads import NEVER, Described
from virnucpro.naming.names import EMBEDDED_RANKS
from virnucpro.naming.references import RankModel, References
from virnucpro.naming.taxonomy import FEATURES
from virnucpro.training import taxa
from virnucpro.training.taxa import fit_ranks, fit_taxa, held_out, measure_statements, units_of

COLUMNS = ["record", *RANKS, "species"]


def table_of(rows: list[dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*COLUMNS, "unit"], dtype=object).fillna("")


def test_what_is_held_out() -> None:
    levels = [
        {"record": "r0", "species": "s0", "genus": "g0", "unit": "u0"},
        {"record": "r1", "species": "s1", "genus": "g0", "unit": "u0"},
        {"record": "r2", "species": "s2", "genus": "g2", "unit": "u0"},
        {"record": "r3", "species": "s3", "genus": "g3", "unit": "u3"},
        {"record": "r4", "species": "", "genus": "", "unit": "u4"},
    ]
    known = references_of(*levels)
    known.table["unit"] = [level["unit"] for level in levels]
    fragments = table_of([levels[0], levels[4], levels[3] | {"species": "s9", "genus": "g9", "unit": "u9"}])
    hits = hits_of(*((owner, reference, 9, 9) for owner in range(3) for reference in range(5)))

    def left(level: str) -> list[tuple[int, int]]:
        kept = held_out(hits, known, fragments, level)
        return list(zip(kept["owner"].tolist(), kept["reference"].tolist(), strict=True))

    not_own_record = [(2, 0), (2, 1), (2, 2), (2, 4)]
    assert left("species") == [(0, 1), (0, 2), (0, 3), (0, 4), *not_own_record]
    assert left("genus") == [(0, 2), (0, 3), (0, 4), *not_own_record]
    assert left("unit") == [(0, 3), (0, 4), (1, 0), (1, 1), (1, 2), (1, 3), *not_own_record]


def test_units_are_families_but_for_tailed_phages() -> None:
    table = table_of([{"family": "F", "class": "C"}, {"family": "F", "class": "Caudoviricetes"}, {"class": "C"}])
    assert units_of(table, pd.Series(["g0", "g1", "g2"])).tolist() == ["F", "g1", "g2"]


def made_ranks(seed: int = 0) -> tuple[pd.DataFrame, References, pd.DataFrame]:
    """Return hits, references and fragments; hits with many shared k-mers are of the own taxon, others are not."""
    rng = np.random.default_rng(seed)
    rows = [
        {"record": f"r{n}", **{rank: f"{rank}{n // 4}" for rank in RANKS}, "species": f"s{n}", "unit": f"u{n}"}
        for n in range(80)
    ]
    known = references_of(*rows)
    known.table["unit"] = [row["unit"] for row in rows]
    fragments = table_of([row | {"record": f"q{n}", "species": f"x{n}", "unit": f"v{n}"} for n, row in enumerate(rows)])
    fragments["genus"] = [f"genus{n // 4}" for n in range(80)]
    found = []
    for owner in range(80):
        close = rng.random() < 0.6
        reference = owner // 4 * 4 + (owner + 1) % 4 if close else (owner + 40) % 80
        found.append((owner, reference, int(rng.integers(60, 90) if close else rng.integers(5, 30)), 100))
    fragments["length"] = np.tile([1000, 2000, 9000, 9000], 20)
    for rank in ("family", "genus"):  # the level below is another one, so that nothing is held out
        known.table[rank] = [f"{rank}{n // 4}" for n in range(80)]
    return hits_of(*found), known, fragments


def test_regressions_learn_from_shared_kmers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taxa, "HELD_OUT", {"genus": "species", "family": "species"})
    hits, known, fragments = made_ranks()
    model = fit_ranks(hits, known, fragments)
    assert model.weights.shape == (len(RANKS), len(FEATURES) + 1)
    assert model.limits.shape == (len(RANKS), len(CLASSES))
    assert (model.weights[:, :2].sum(axis=1) > 0).all()
    probability = 1 / (1 + np.exp(-(model.weights[0, :2] @ [np.log(0.8), np.log(80)] + model.weights[0, 2:].sum())))
    assert probability > 0.8
    probability = 1 / (1 + np.exp(-(model.weights[0, :2] @ [np.log(0.1), np.log(10)] + model.weights[0, 2:].sum())))
    assert probability < 0.2
    assert (model.limits[:, 2] < 1).all(), "from 5 kb 40 fragments are right or not as their probabilities say"


def test_the_own_genus_proves_no_family(monkeypatch: pytest.MonkeyPatch) -> None:
    hits, known, fragments = made_ranks()
    seen: dict[str, int] = {}

    def noted(hits: pd.DataFrame, references: References, fragments: pd.DataFrame, level: str) -> pd.DataFrame:
        kept = held_out(hits, references, fragments, level)
        seen[level] = len(kept)
        return kept if level != "genus" else hits

    monkeypatch.setattr(taxa, "held_out", noted)
    fit_ranks(hits, known, fragments)
    assert seen["species"] == seen["unit"] == 80
    assert seen["genus"] < 50, "those with a hit of another genus"


def fragments_of_classes() -> tuple[Rows, "pd.Series[int]", pd.DataFrame]:
    """Return genes of fragments of two classes, which their inputs tell apart, of a rare class and of none."""
    rng = np.random.default_rng(0)
    lineages = [*TAXA, TAXA[0] | {"class": "Rare"}, dict.fromkeys(EMBEDDED_RANKS, "")]
    which = np.array([0, 1] * 60 + [2] * 4 + [3] * 6)
    sizes = pd.Series(rng.integers(1, 6, len(which)))
    inputs = rng.normal(size=(int(sizes.sum()), 5))
    inputs[:, 0] += np.repeat(np.where(which == 0, 5, -5), sizes)
    fragments = table_of([lineages[one] | {"unit": f"u{n % 20}"} for n, one in enumerate(which)])
    fragments["length"] = np.where(np.arange(len(which)) % 4 < 2, 2000, 9000)
    return inputs.astype(np.float32), sizes, fragments


def test_the_taxon_head_learns_classes_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taxa, "HIDDEN", 16)
    inputs, sizes, fragments = fragments_of_classes()
    fitted = fit_taxa(inputs, sizes, fragments, 0)
    assert fitted.taxa == sorted(TAXA, key=lambda taxon: taxon["class"]), "a rare class is not learned"
    expected = fragments["class"].map({"Caudoviricetes": 0, "Pisoniviricetes": 1})
    known = expected.notna().to_numpy()
    assert (fitted.head.probabilities.argmax(axis=1)[known] == expected[known]).mean() > 0.95
    assert set(fitted.limits) == {*EMBEDDED_RANKS, "genome"}
    assert set(fitted.limits["genome"]) == {"dsDNA", "ssRNA(+)"}
    for rank in EMBEDDED_RANKS:
        assert set(fitted.limits[rank]) == {taxon[rank] for taxon in TAXA}
        for shortest, *longer in fitted.limits[rank].values():
            assert shortest == NEVER, "no fragment is that short"
            assert max(longer) <= 1

    hits, known_references, _ = made_ranks()
    known_references = replace(known_references, ranks=RankModel(np.zeros((7, 4)), np.full((7, 3), NEVER)))
    described = Described(DESCRIPTION, (), (), tuple(fitted.taxa), fitted.limits)
    fragments["species"], fragments["genus"] = "s", ""
    measured = measure_statements(hits, known_references, fragments, fitted.head.probabilities, described)
    assert len(measured) == 3 * len(CLASSES) * len(RANKS)
    of = measured.set_index(["held_out", "length", "rank"]).to_dict("index")
    by_class = of["species", "1.5 to 5 kb", "class"]
    assert by_class["fragments"] == ((fragments["length"] == 2000) & (fragments["class"] != "")).sum()
    assert by_class["stated"] > 0.8
    assert by_class["right"] > 0.9
    assert of["species", "under 1.5 kb", "class"]["fragments"] == 0
    assert of["genus", "from 5 kb", "class"]["fragments"] == 0, "of no fragment the genus is known"
    assert of["unit", "from 5 kb", "order"]["fragments"] == 0
