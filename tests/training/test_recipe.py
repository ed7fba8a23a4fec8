"""Training: weights of groups, thresholds, and cross-fitted scores."""

import dataclasses

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling.classifier import Rows
from virnucpro.calling.requirements import Requirements
from virnucpro.training.cross_fit import HIDDEN, deal_groups
from virnucpro.training.evaluation import call_at_share
from virnucpro.training.recipe import (
    Labelled,
    cellular_limits,
    fit,
    label_fragments,
    log_odds_of,
    score_fragments,
)

REQUIREMENTS = Requirements(DESCRIPTION, cellular_to=((500, -0.5),), fewest_residues=50, most_genes=40)


def one_protein_each(sizes: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return fragments of groups of these sizes, and a protein of each fragment."""
    group = [name for name, size in sizes.items() for _ in range(size)]
    names = [f"f{number}" for number in range(len(group))]
    fragments = pd.DataFrame({"group": group, "kind": "", "length": 2000}, index=names)
    fragments["label"] = ["viral" if name.startswith("v") else "cellular" for name in group]
    fragments["split"] = ["test" if name.endswith("test") else "train" for name in group]
    proteins = pd.DataFrame({"contig": names, "chunk": 0, "group": range(len(names)), "genetic_code": 11})
    proteins["strand"] = "+"
    return fragments, proteins.assign(residues=100, group_residues=100, counts=True)


def labelled(sizes: dict[str, int], position: dict[str, float]) -> Labelled:
    """Return fragments whose embedding is the position of their group, with noise."""
    fragments, proteins = one_protein_each(sizes)
    noise = np.random.default_rng(0).normal(size=len(proteins)) * 0.1
    embedding = (fragments["group"].map(position).to_numpy() + noise)[:, None].astype(np.float32)
    return label_fragments(fragments, proteins, embedding, 0)


def test_a_large_group_weighs_no_more_than_a_small_one() -> None:
    sizes = {"v0": 20, "v1": 20, "v2": 20, "v3": 20, "large": 600, "c1": 20, "c2": 20, "c3": 20}
    # The large cellular group looks viral. Among fragments that look viral 600 of 680 are cellular, in 1 of 5 groups.
    made = labelled(sizes, {name: 1.0 if name in "v0 v1 v2 v3 large" else -1.0 for name in sizes})
    fitted = fit(made, 0)
    folds = made.fragments["fold"].to_numpy()
    seen = folds != made.fragments.loc[made.fragments["group"] == "large", "fold"].iloc[0]
    viral = seen & (made.fragments["viral"] == 1).to_numpy()
    assert viral.sum() == 60
    assert np.median(fitted.proteins.log_odds[viral]) > 0.1
    assert np.median(fitted.contigs.log_odds[viral]) > 0.1


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
    scores = score_fragments(made, log_odds_of(made, fitted, classifier)[1], classifier.requirements)
    finished = classifier.contig_log_odds(made.evidence(classifier.protein_log_odds(made.inputs)))
    np.testing.assert_array_equal(scores.loc[made.trained, "log_odds"], fitted.contigs.log_odds)
    np.testing.assert_array_equal(scores.loc[~made.trained, "log_odds"], finished[~made.trained])
    assert (finished[made.trained] != fitted.contigs.log_odds).all()
    np.testing.assert_allclose(scores["score"], 1 / (1 + np.exp(-scores["log_odds"])))
    tested = scores[~made.trained]
    expected = call_at_share(classifier.requirements, tested)["call"]
    assert tested["call"].tolist() == expected.tolist()
    assert set(expected) == {"cellular", "unresolved"}


def test_limits_of_cellular_calls_are_cross_fitted() -> None:
    sizes = {f"{label}{number}": 40 for label in "vc" for number in range(5)}
    made = labelled(sizes, {name: 1.0 if name.startswith("v") else -1.0 for name in sizes})
    fitted = fit(made, 0)
    odd = ((made.fragments["fold"] == 0) & (made.fragments["viral"] == 1)).to_numpy()
    log_odds = fitted.contigs.log_odds.copy()
    log_odds[odd] = np.linspace(-5, -4, odd.sum())  # of this fold all viral fragments look cellular
    fitted = fitted._replace(contigs=fitted.contigs._replace(log_odds=log_odds))
    limits = cellular_limits(made.fragments.assign(log_odds=log_odds))
    classifier = fitted.classifier(dataclasses.replace(REQUIREMENTS, cellular_to=limits))
    scores = score_fragments(made, log_odds_of(made, fitted, classifier)[1], classifier.requirements)
    assert (scores.loc[odd, "call"] == "cellular").all(), "the limit of other folds is not that low"


def test_a_fragment_without_proteins_has_no_evidence() -> None:
    fragments, proteins = one_protein_each({"v0": 2, "v1": 2, "c0": 2, "c1": 2})
    made = label_fragments(fragments, proteins.drop(index=3), np.ones((7, 1), np.float32), 0)
    log_odds = np.arange(7.0)
    evidence = made.evidence(log_odds)
    np.testing.assert_allclose(evidence[3], np.delete(evidence, 3, 0).mean(axis=0))
    np.testing.assert_allclose(np.delete(evidence, 3, 0)[:, :2], np.column_stack([log_odds, log_odds]))


def test_nearly_all_fragments_for_training_have_fewer_genes_than_count() -> None:
    fragments, proteins = one_protein_each({"v0": 50, "v1": 50, "c0": 50, "c1": 50, "ctest": 1})
    repeats = np.ones(201, int)
    repeats[[0, 1]], repeats[2], repeats[200] = 30, 90, 500  # two fragments in a hundred have more than 1, the test 500
    many = proteins.loc[proteins.index.repeat(repeats)].assign(group=range(repeats.sum()))
    made = label_fragments(fragments, many, np.ones((len(many), 1), np.float32), 0)
    assert made.most_genes == 30


def test_a_kind_that_is_not_named_is_its_label() -> None:
    fragments, proteins = one_protein_each({"v0": 1, "v1": 1, "c0": 1, "c1": 1})
    fragments["kind"] = ["phage", "", "", "plasmid"]
    made = label_fragments(fragments, proteins, np.ones((4, 1), np.float32), 0)
    assert made.fragments["kind"].tolist() == ["phage", "viral", "cellular", "plasmid"]


def test_labels_of_groups_by_a_coin_give_an_auroc_of_one_half() -> None:
    rng = np.random.default_rng(0)
    groups = {f"g{number}": rng.normal(size=6) for number in range(40)}  # each looks like itself
    aurocs = []
    for seed in range(8):
        labels = rng.permutation(np.repeat(["v", "c"], 20))
        sizes = {f"{label}{name}": 20 for label, name in zip(labels, groups, strict=True)}
        fragments, proteins = one_protein_each(sizes)
        places = np.array([groups[name[1:]] for name in fragments["group"]])
        embedding = (places + rng.normal(size=places.shape) * 0.3).astype(np.float32)
        made = label_fragments(fragments, proteins, embedding, seed)
        log_odds = fit(made, seed).contigs.log_odds
        aurocs.append(roc_auc_score(made.fragments["viral"], log_odds))
    error = np.std(aurocs) / np.sqrt(len(aurocs))
    assert abs(np.mean(aurocs) - 0.5) < max(2.5 * error, 0.03), aurocs


def scored(viral: int, cellular: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [viral, cellular])
    lengths = np.exp(rng.uniform(np.log(500), np.log(40_000), len(labels))).round()
    log_odds = rng.normal(6 * labels - 3, 2)
    return pd.DataFrame({"viral": labels, "log_odds": log_odds, "length": lengths})


@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 99))
def test_one_viral_contig_in_a_hundred_of_each_length_is_below_its_limit(viral: int, cellular: int, seed: int) -> None:
    contigs = scored(viral, cellular, seed)
    limits = cellular_limits(contigs)
    assert [start for start, _ in limits] == [500, 1500, 3000, 10_000]
    for (shortest, limit), longest in zip(limits, [1500, 3000, 10_000, np.inf], strict=True):
        chosen = (contigs["viral"] == 1) & contigs["length"].between(shortest, longest, inclusive="left")
        of_class = contigs.loc[chosen, "log_odds"]
        assert limit <= 0
        assert (of_class < limit - 0.001).mean() <= 0.01 if len(of_class) else limit == -100
        if len(of_class) > 50 and limit < 0:
            assert (of_class <= limit + 0.001).any(), "no lower than it must be"


def test_limits_of_cellular_calls_do_not_depend_on_cellular_contigs() -> None:
    contigs = scored(500, 500)
    assert cellular_limits(contigs) == cellular_limits(contigs[contigs["viral"] == 1])
    assert cellular_limits(contigs.assign(log_odds=contigs["log_odds"] + 50)) == tuple(
        (start, 0.0) for start in (500, 1500, 3000, 10_000)
    )


def test_folds_are_those_of_the_fragments_groups() -> None:
    fragments, proteins = one_protein_each({"v0": 5, "vtest": 4, "v1": 2, "c0": 7, "c1": 1})
    rows: Rows = np.ones((19, 1), np.float32)
    made = label_fragments(fragments, proteins, rows, 3)
    trained = fragments[fragments["split"] == "train"]
    label = trained["label"].to_numpy(str)
    expected = deal_groups(trained["group"].to_numpy(str), (label == "viral").astype(int), label, 3)
    np.testing.assert_array_equal(made.fragments.loc[made.trained, "fold"], expected)
    assert (made.fragments.loc[~made.trained, "fold"] == -1).all()
