"""Training: weights of groups, thresholds, and which scores are cross-fitted."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling.classifier import Floats, Rows
from virnucpro.calling.requirements import Requirements
from virnucpro.training.cross_fit import HIDDEN, Integers, deal_groups
from virnucpro.training.recipe import (
    Labelled,
    fit,
    label_fragments,
    score_fragments,
    thresholds,
)

REQUIREMENTS = Requirements(DESCRIPTION, viral_from=0.3, cellular_to=0.0, fewest_residues=50)


def one_protein_each(sizes: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return fragments of groups of these sizes, and a protein of each fragment."""
    group = [name for name, size in sizes.items() for _ in range(size)]
    names = [f"f{number}" for number in range(len(group))]
    fragments = pd.DataFrame({"group": group, "kind": "", "length": 2000}, index=names)
    fragments["label"] = ["viral" if name.startswith("v") else "cellular" for name in group]
    fragments["split"] = ["test" if name.endswith("test") else "train" for name in group]
    proteins = pd.DataFrame({"contig": names, "chunk": 0, "group": range(len(names)), "genetic_code": 11})
    return fragments, proteins.assign(residues=100, group_residues=100, counts=True)


def labelled(sizes: dict[str, int], position: dict[str, float]) -> Labelled:
    """Return fragments whose embedding is the position of their group, with noise."""
    fragments, proteins = one_protein_each(sizes)
    noise = np.random.default_rng(0).normal(size=len(proteins)) * 0.1
    embedding = (fragments["group"].map(position).to_numpy() + noise)[:, None].astype(np.float32)
    return label_fragments(fragments, proteins, embedding, 0)


def test_a_large_group_weighs_no_more_than_a_small_one() -> None:
    sizes = {"v0": 20, "v1": 20, "v2": 20, "v3": 20, "large": 600, "c1": 20, "c2": 20, "c3": 20}
    # The large cellular group looks viral: of what looks so, 600 of 680 fragments are cellular, but 1 group of 5.
    made = labelled(sizes, {name: 1.0 if name in "v0 v1 v2 v3 large" else -1.0 for name in sizes})
    fitted = fit(made, 0)
    folds = made.fragments["fold"].to_numpy()
    seen = folds != made.fragments.loc[made.fragments["group"] == "large", "fold"].iloc[0]
    viral = seen & (made.fragments["viral"] == 1).to_numpy()
    assert viral.sum() == 60
    assert np.median(fitted.proteins.log_odds[viral]) > 0.3
    assert np.median(fitted.contigs.log_odds[viral]) > 0.3


def test_two_groups_a_label_make_two_networks_that_both_learned() -> None:
    sizes = {"v0": 150, "v1": 150, "c0": 150, "c1": 150}
    made = labelled(sizes, {"v0": 1.0, "v1": 1.0, "c0": -1.0, "c1": -1.0})
    fitted = fit(made, 0)
    assert len(fitted.proteins.arrays["output_bias"]) == 2
    classifier = fitted.classifier(REQUIREMENTS)
    assert classifier.hidden_weight.shape == (2, HIDDEN, 2)
    viral = made.fragments["viral"].to_numpy(bool)
    for network in range(2):
        alone = {
            name: getattr(classifier, name)[network : network + 1]
            for name in ("hidden_weight", "hidden_bias", "output_weight", "output_bias")
        }
        log_odds = dataclasses.replace(classifier, **alone).protein_log_odds(made.inputs)
        assert log_odds[viral].min() > 0 > log_odds[~viral].max()


def test_fragments_for_training_keep_their_cross_fitted_scores() -> None:
    sizes = {"v0": 30, "vtest": 20, "v1": 30, "c0": 30, "c1": 30, "ctest": 20}
    made = labelled(sizes, {name: 1.0 if name.startswith("v") else -1.0 for name in sizes})
    assert set(made.fragments.loc[made.trained, "group"]) == {"v0", "v1", "c0", "c1"}
    fitted = fit(made, 0)
    classifier = fitted.classifier(REQUIREMENTS)
    scores = score_fragments(made, fitted, classifier)
    finished = classifier.contig_log_odds(made.evidence(classifier.protein_log_odds(made.inputs)))
    np.testing.assert_array_equal(scores.loc[made.trained, "log_odds"], fitted.contigs.log_odds)
    np.testing.assert_array_equal(scores.loc[~made.trained, "log_odds"], finished[~made.trained])
    assert (finished[made.trained] != fitted.contigs.log_odds).all()
    np.testing.assert_allclose(scores["score"], 1 / (1 + np.exp(-scores["log_odds"])))
    called = np.select([scores["log_odds"] >= 0.3, scores["log_odds"] <= 0], ["viral", "cellular"], "unresolved")
    assert scores["call"].tolist() == called.tolist()


def test_a_fragment_without_proteins_has_no_evidence() -> None:
    fragments, proteins = one_protein_each({"v0": 2, "v1": 2, "c0": 2, "c1": 2})
    made = label_fragments(fragments, proteins.drop(index=3), np.ones((7, 1), np.float32), 0)
    evidence = made.evidence(np.full(7, 3.0))
    np.testing.assert_allclose(evidence[3], [0, 0])
    np.testing.assert_allclose(np.delete(evidence, 3, 0), 3)


def test_a_kind_that_is_not_named_is_its_label() -> None:
    fragments, proteins = one_protein_each({"v0": 1, "v1": 1, "c0": 1, "c1": 1})
    fragments["kind"] = ["phage", "", "", "plasmid"]
    made = label_fragments(fragments, proteins, np.ones((4, 1), np.float32), 0)
    assert made.fragments["kind"].tolist() == ["phage", "viral", "cellular", "plasmid"]


def random_scores(viral: int, cellular: int, seed: int = 0) -> tuple[Floats, Integers]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [viral, cellular])
    return np.round(rng.normal(4 * labels - 2, 2), 1), labels


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 99))
def test_thresholds_are_defined_for_any_number_of_contigs(viral: int, cellular: int, seed: int) -> None:
    log_odds, labels = random_scores(viral, cellular, seed)
    viral_from, cellular_to = thresholds(log_odds, labels)
    assert log_odds.min() <= cellular_to <= viral_from <= log_odds[labels == 0].max()
    assert (log_odds[labels == 0] > viral_from).sum() <= 0.017 * cellular + 1
    between = (log_odds > cellular_to) & (log_odds < viral_from)
    assert between[labels == 0].mean() / 2 + between[labels == 1].mean() / 2 <= 0.02 + 1e-9


def test_thresholds_where_nearly_all_contigs_are_viral() -> None:
    log_odds, labels = random_scores(10_000, 150)
    viral_from, cellular_to = thresholds(log_odds, labels)
    called_viral, called_cellular = log_odds >= viral_from, log_odds <= cellular_to
    assert called_viral[labels == 0].mean() == pytest.approx(0.017, abs=0.01)
    assert called_cellular[labels == 0].mean() > 0.9
    assert (~called_viral & ~called_cellular).any()


def test_thresholds_depend_on_no_label_being_frequent() -> None:
    log_odds, labels = random_scores(300, 500)
    repeats = np.where(labels == 1, 40, 1)
    expected = thresholds(log_odds, labels)
    assert thresholds(np.repeat(log_odds, repeats), np.repeat(labels, repeats)) == pytest.approx(expected)


def test_folds_are_those_of_the_fragments_groups() -> None:
    fragments, proteins = one_protein_each({"v0": 5, "vtest": 4, "v1": 2, "c0": 7, "c1": 1})
    rows: Rows = np.ones((19, 1), np.float32)
    made = label_fragments(fragments, proteins, rows, 3)
    trained = fragments[fragments["split"] == "train"]
    label = trained["label"].to_numpy(str)
    expected = deal_groups(trained["group"].to_numpy(str), (label == "viral").astype(int), label, 3)
    np.testing.assert_array_equal(made.fragments.loc[made.trained, "fold"], expected)
    assert (made.fragments.loc[~made.trained, "fold"] == -1).all()
