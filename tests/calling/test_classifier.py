"""The classifier: its arithmetic against torch's, what it refuses, and the fitting's promises about groups."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch import nn

from virnucpro.calling.classifier import Classifier, contig_inputs, load_classifier, probability, save_classifier
from virnucpro.calling.evaluation import evaluate, reliability, share
from virnucpro.calling.features import NAMES
from virnucpro.calling.requirements import Requirements, read_requirements
from virnucpro.calling.training import FOLDS, deal_groups, fit_contigs, fit_frames, group_weights
from virnucpro.errors import UserError

RECIPE = Requirements(
    "tiny", "a" * 64, "2", "mean", 500, [300, 150], viral_from=1.5, cellular_to=0.5, fewest_residues=50
)
ATTRIBUTES = {"model": "tiny", "model_sha256": "a" * 64, "layer": 2, "pooling": "mean"}


def rounded_networks() -> list[nn.Sequential]:
    """Six networks over nine inputs, whose first weights float16 holds."""
    torch.manual_seed(0)
    made = [nn.Sequential(nn.Linear(9, 5), nn.GELU(), nn.Linear(5, 1)) for _ in range(6)]
    for network in made:
        network[0].weight.data = network[0].weight.data.half().float()
    return made


@pytest.fixture
def classifier() -> Classifier:
    rng = np.random.default_rng(0)
    parts = [[p.detach().numpy() for p in network.parameters()] for network in rounded_networks()]
    arrays = (np.stack(part) for part in zip(*parts, strict=True))
    hidden_weight, hidden_bias, output_weight, output_bias = (a.reshape(2, 3, *a.shape[1:]) for a in arrays)
    inputs = 2 + len(NAMES)
    return Classifier(
        mean=rng.normal(size=9).astype(np.float32),
        scale=rng.uniform(0.5, 2, 9).astype(np.float32),
        hidden_weight=hidden_weight.astype(np.float16),
        hidden_bias=hidden_bias,
        output_weight=output_weight[:, :, 0],
        output_bias=output_bias[:, :, 0],
        contig_mean=rng.normal(size=inputs).astype(np.float32),
        contig_scale=rng.uniform(0.5, 2, inputs).astype(np.float32),
        contig_weight=rng.normal(size=inputs).astype(np.float32),
        contig_bias=np.array([0.25], np.float32),
        requirements=RECIPE,
    )


def test_frames_are_scored_as_torch_does(classifier: Classifier) -> None:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(40, 9)).astype(np.float32)
    standard = ((torch.tensor(inputs) - torch.tensor(classifier.mean)) / torch.tensor(classifier.scale)).clamp(-6, 6)
    with torch.inference_mode():
        outputs = torch.stack([network(standard)[:, 0] for network in rounded_networks()])
    expected = torch.stack([outputs[:3].mean(0), outputs[3:].mean(0)], dim=1)
    np.testing.assert_allclose(classifier.frame_log_odds(inputs), expected, atol=1e-5)


def test_contigs_are_a_regression_over_their_evidence(classifier: Classifier) -> None:
    features = np.random.default_rng(2).normal(size=(3, len(NAMES)))
    inputs = contig_inputs(np.array([[3.0, 6.0], [-8.0, 4.0], [0.0, 0.0]]), [5, 12, 0], features)
    np.testing.assert_allclose(inputs[:, :2], [[1, 2], [-2, 1], [0, 0]])
    np.testing.assert_array_equal(inputs[:, 2:], features)
    standard = (inputs - classifier.contig_mean) / classifier.contig_scale
    expected = [
        float(sum(a * b for a, b in zip(row, classifier.contig_weight, strict=True))) + 0.25 for row in standard
    ]
    np.testing.assert_allclose(classifier.contig_log_odds(inputs), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("log_odds", "residues", "length", "call", "reason"),
    [
        (1.5, 50, 900, "viral", ""),
        (1.4, 50, 900, "unresolved", "not clear enough"),
        (0.5, 50, 900, "cellular", ""),
        (9.0, 49, 900, "unresolved", "fewer than 50 residues in open frames"),
        (9.0, 0, 900, "unresolved", "no open frame"),
        (9.0, 0, 0, "unresolved", "nothing in the record"),
    ],
)
def test_calls(classifier: Classifier, log_odds: float, residues: int, length: int, call: str, reason: str) -> None:
    assert classifier.decide(log_odds, residues, length) == (call, reason)


def test_a_file_gives_the_same_classifier(classifier: Classifier, tmp_path: Path) -> None:
    save_classifier(classifier, tmp_path / "c.safetensors")
    loaded = load_classifier(tmp_path / "c.safetensors")
    assert loaded.requirements == RECIPE == read_requirements(tmp_path / "c.safetensors")
    for field in dataclasses.fields(Classifier):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(classifier, field.name))


def test_what_is_no_classifier_is_refused(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(UserError, match="No such file or directory; give one that a training wrote"):
        load_classifier(path)
    save_classifier(classifier, path)
    whole = path.read_bytes()
    for content in (b"", b"\x00" * 20, whole[:100], b"{}" * 50, b"\xff" * 8 + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a classifier"):
            load_classifier(path)
    path.write_bytes(whole[:-10])
    with pytest.raises(UserError, match="a damaged classifier"):
        load_classifier(path)
    save_file({"mean": np.zeros(3, np.float32)}, path, {"format": "another"})
    with pytest.raises(UserError, match="not a classifier that this version of virnucpro can use"):
        load_classifier(path)
    save_classifier(dataclasses.replace(classifier, contig_weight=np.zeros(9, np.float32)), path)
    with pytest.raises(UserError, match="over other features of contigs"):
        load_classifier(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_a_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError):
        read_requirements(path)


@pytest.mark.parametrize(
    ("changed", "sizes", "message"),
    [
        ({"model_sha256": "b" * 64, "model": "big"}, [500], "model is big, but the classifier was trained with tiny"),
        ({"layer": "1"}, [500], "layer is 1, but the classifier was trained with 2"),
        ({"layer": "1,2"}, [500], "layer is 1,2, but"),
        ({"pooling": "max"}, [500], "pooling is max"),
        ({}, [500, 200], r"chunk_size is 500, but the classifier was trained with \[300"),
    ],
)
def test_other_embeddings_are_refused(changed: dict[str, str], sizes: list[int], message: str) -> None:
    requirements = RECIPE if changed else dataclasses.replace(RECIPE, chunk_size=300)
    with pytest.raises(UserError, match=f"^e.h5: {message}"):
        requirements.check_embeddings(ATTRIBUTES | changed, sizes, Path("e.h5"))
    RECIPE.check_embeddings(ATTRIBUTES, [500, 300, 150], Path("e.h5"))


CONFIG = {"model": "tiny", "chunk_size": 500, "layers": [-1], "short_chunks": [300]}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", "esm2_t36_3B_UR50D", "model is esm2_t36_3B_UR50D, but the classifier was trained with tiny"),
        ("chunk_size", 300, "chunk_size is 300, but the classifier was trained with 500"),
        ("layers", [1, 2], r"layers is \[1, 2\], but"),
        ("short_chunks", [200], r"short_chunks is \[200\], but"),
    ],
)
def test_another_configuration_is_refused_before_any_job(key: str, value: object, message: str) -> None:
    RECIPE.check_config(CONFIG)
    with pytest.raises(UserError, match=f"^config: {message}"):
        RECIPE.check_config(CONFIG | {key: value})


@given(st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(1, 9)), min_size=2), st.integers(0, 99))
def test_no_group_is_divided_between_folds(sizes: list[tuple[str, int]], seed: int) -> None:
    groups = np.array([name for name, size in sizes for _ in range(size)])
    labels = np.array([ord(name) % 2 for name in groups])
    folds = deal_groups(groups, labels, seed)
    assert all(len(set(folds[groups == name])) == 1 for name in set(groups))
    np.testing.assert_array_equal(folds, deal_groups(groups, labels, seed))
    weights = group_weights(groups, labels)
    totals = [weights[labels == label].sum() for label in set(labels)]
    np.testing.assert_allclose(totals, totals[0])


def test_frames_are_scored_by_what_has_not_seen_their_group() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([f"g{number}" for number in range(10)], 40)
    labels = np.repeat(np.arange(10) % 2, 40)
    # Each group is marked by a dimension of its own, which tells its label to who has seen it, and to nobody else.
    inputs = np.eye(10, dtype=np.float32)[np.repeat(np.arange(10), 40)] + rng.normal(size=(400, 10)) * 0.1
    folds = deal_groups(groups, labels, 0)
    fit = fit_frames(inputs.astype(np.float32), labels, np.ones(400), folds, np.ones((400, 1), bool), 0)
    assert [len(networks) for networks in fit.networks] == [FOLDS]
    found = ((fit.log_odds[:, 0] > 0) == labels).mean()
    assert found < 0.7, "the labels of groups held out leaked"


def test_evidence_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 4000)
    inputs = np.column_stack([rng.normal(2 * labels - 1, 1), rng.normal(size=4000)])
    fit = fit_contigs(inputs, labels, np.ones(4000), np.arange(4000) % FOLDS)
    table = reliability(probability(fit.log_odds), labels)
    np.testing.assert_allclose(table["score"], table["viral"], atol=0.08)
    assert (table["contigs"] > 0).all()


def test_shares_have_exact_intervals() -> None:
    # 2 of 10: Clopper and Pearson's interval, as any table of it has it.
    found = share(np.arange(10) < 2)
    assert (found["value"], found["low"], found["high"]) == (0.2, 0.0252, 0.5561)
    assert share(np.zeros(20, bool))["low"] == 0
    assert share(np.ones(20, bool))["high"] == 1


@settings(max_examples=5)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5)), min_size=4, max_size=60))
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[int, int]]) -> None:
    rows = [*rows, (0, 0), (1, 0)]
    table = pd.DataFrame(rows, columns=["viral", "log_odds"]).assign(call="cellular", group="g")
    pairs = [(v > c) + 0.5 * (v == c) for one, v in rows if one for zero, c in rows if not zero]
    metrics = evaluate(table)
    assert metrics["auroc"]["value"] == pytest.approx(np.mean(pairs), abs=1e-4)
    assert metrics["auroc"]["low"] <= metrics["auroc"]["high"]
