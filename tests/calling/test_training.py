"""Training: weights of groups, experts, thresholds, and which scores are cross-fitted."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.calling.classifier import Floats
from virnucpro.calling.fitting import Integers, Rows, deal_groups
from virnucpro.calling.requirements import Requirements
from virnucpro.calling.training import (
    Labelled,
    choose_experts,
    fit,
    label_fragments,
    score_by_linear,
    score_fragments,
    thresholds,
)

REQUIREMENTS = Requirements("tiny", "a" * 64, "2", "mean", 500, [], viral_from=0.3, cellular_to=0.0, fewest_residues=50)


def one_frame_each(sizes: dict[str, int], host: str = "") -> tuple[pd.DataFrame, Floats, pd.DataFrame]:
    """Return fragments of groups of these sizes, features that tell nothing, and a frame of each fragment."""
    group = [name for name, size in sizes.items() for _ in range(size)]
    names = [f"f{number}" for number in range(len(group))]
    fragments = pd.DataFrame({"group": group, "host": host, "length": 2000}, index=names)
    fragments["label"] = ["viral" if name.startswith("v") else "cellular" for name in group]
    fragments["split"] = ["test" if name.endswith("test") else "train" for name in group]
    frames = pd.DataFrame({"contig": names, "chunk": names, "frame_group": range(len(names)), "genetic_code": 1})
    frames = frames.assign(residues=100, group_residues=100, frames_in_chunk=1, relative_length=1.0)
    return fragments, np.zeros((len(names), 2)), frames


def labelled(sizes: dict[str, int], position: dict[str, float]) -> Labelled:
    """Return fragments whose embedding is the position of their group, with noise."""
    fragments, features, frames = one_frame_each(sizes)
    noise = np.random.default_rng(0).normal(size=len(frames)) * 0.1
    embedding = (fragments["group"].map(position).to_numpy() + noise)[:, None].astype(np.float32)
    return label_fragments(fragments, features, frames, embedding, 0)


def test_a_large_group_weighs_no_more_than_a_small_one() -> None:
    sizes = {"v0": 20, "v1": 20, "v2": 20, "v3": 20, "large": 600, "c1": 20, "c2": 20, "c3": 20}
    # The large cellular group looks viral: of what looks so, 600 of 680 fragments are cellular, but 1 group of 5.
    made = labelled(sizes, {name: 1.0 if name in "v0 v1 v2 v3 large" else -1.0 for name in sizes})
    fitted = fit(made, 0)
    folds = made.fragments["fold"].to_numpy()
    seen = folds != made.fragments.loc[made.fragments["group"] == "large", "fold"].iloc[0]
    viral = seen & (made.fragments["viral"] == 1).to_numpy()
    assert viral.sum() == 60
    assert np.median(fitted.frames.log_odds[viral]) > 0.3
    assert np.median(fitted.contigs.log_odds[viral]) > 0.3
    assert np.median(fitted.contigs_by_linear.log_odds[viral]) > 0.3


def test_two_groups_a_label_make_two_networks_that_both_learned() -> None:
    sizes = {"v0": 150, "v1": 150, "c0": 150, "c1": 150}
    made = labelled(sizes, {"v0": 1.0, "v1": 1.0, "c0": -1.0, "c1": -1.0})
    fitted = fit(made, 0)
    assert [len(networks) for networks in fitted.frames.networks] == [2]
    classifier = fitted.classifier(REQUIREMENTS)
    assert classifier.hidden_weight.shape == (1, 2, 64, 4)
    viral = made.fragments["viral"].to_numpy(bool)
    for network in range(2):
        alone = {
            name: getattr(classifier, name)[:, network : network + 1]
            for name in ("hidden_weight", "hidden_bias", "output_weight", "output_bias")
        }
        log_odds = dataclasses.replace(classifier, **alone).frame_log_odds(made.inputs)[:, 0]
        assert log_odds[viral].min() > 0 > log_odds[~viral].max()


def test_fragments_for_training_keep_their_cross_fitted_scores() -> None:
    sizes = {"v0": 30, "vtest": 20, "v1": 30, "c0": 30, "c1": 30, "ctest": 20}
    made = labelled(sizes, {name: 1.0 if name.startswith("v") else -1.0 for name in sizes})
    assert set(made.fragments.loc[made.trained, "group"]) == {"v0", "v1", "c0", "c1"}
    fitted = fit(made, 0)
    classifier = fitted.classifier(REQUIREMENTS)
    scores = score_fragments(made, fitted, classifier)
    finished = classifier.contig_log_odds(made.contig_inputs(classifier.frame_log_odds(made.inputs)))
    np.testing.assert_array_equal(scores.loc[made.trained, "log_odds"], fitted.contigs.log_odds)
    np.testing.assert_array_equal(scores.loc[~made.trained, "log_odds"], finished[~made.trained])
    assert (finished[made.trained] != fitted.contigs.log_odds).all()
    np.testing.assert_allclose(scores["score"], 1 / (1 + np.exp(-scores["log_odds"])))
    called = np.select([scores["log_odds"] >= 0.3, scores["log_odds"] <= 0], ["viral", "cellular"], "unresolved")
    assert scores["call"].tolist() == called.tolist()
    by_linear = score_by_linear(made, fitted)
    np.testing.assert_array_equal(by_linear["log_odds"], fitted.contigs_by_linear.log_odds)
    assert (by_linear.loc[by_linear["viral"] == 0, "call"] == "viral").sum() == 2  # 1.7 % of 60 is one and a bit


def test_a_fragment_without_frames_has_no_evidence() -> None:
    fragments, features, frames = one_frame_each({"v0": 2, "v1": 2, "c0": 2, "c1": 2})
    frames = frames.drop(index=3)
    made = label_fragments(fragments, features + 0.5, frames, np.ones((7, 1), np.float32), 0)
    inputs = made.contig_inputs(np.full((7, 1), 3.0))
    np.testing.assert_allclose(inputs[3], [0, 0.5, 0.5])
    np.testing.assert_allclose(np.delete(inputs, 3, 0), [[3 / np.sqrt(1 + 4), 0.5, 0.5]] * 7)


def test_a_host_has_an_expert_if_it_can_be_held_out() -> None:
    rows = [
        *[("both", viral, fold) for viral in (0, 1) for fold in (0, 1)],
        *[("one fold", 0, 0), ("one fold", 0, 1), ("one fold", 1, 1), ("one fold", 1, 1)],
        *[("cells", 0, 0), ("cells", 0, 1)],
        *[("", viral, fold) for viral in (0, 1) for fold in (0, 1)],
    ]
    frames = pd.DataFrame(rows, columns=["host", "viral", "fold"])
    experts = choose_experts(frames)
    assert experts.shape == (14, 2)
    assert experts[:, 0].all()
    np.testing.assert_array_equal(experts[:, 1], frames["host"] == "both")


def test_every_network_of_a_host_sees_both_labels() -> None:
    fragments, features, frames = one_frame_each({name: 5 for name in ("v0", "v1", "v2", "c0", "c1", "c2")}, "one")
    made = label_fragments(fragments, features, frames, np.ones((30, 1), np.float32), 0)
    assert choose_experts(made.fragments).shape == (30, 2)
    for fold in range(3):
        assert made.fragments.loc[made.fragments["fold"] != fold, "viral"].nunique() == 2


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
    fragments, features, frames = one_frame_each({"v0": 5, "vtest": 4, "v1": 2, "c0": 7, "c1": 1})
    rows: Rows = np.ones((19, 1), np.float32)
    made = label_fragments(fragments, features, frames, rows, 3)
    trained = fragments[fragments["split"] == "train"]
    expected = deal_groups(trained["group"].to_numpy(str), (trained["label"] == "viral").to_numpy(int), 3)
    np.testing.assert_array_equal(made.fragments.loc[made.trained, "fold"], expected)
    assert (made.fragments.loc[~made.trained, "fold"] == -1).all()
