"""The classifier: its arithmetic against torch's, and the files, embeddings and configurations that it refuses."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch import nn

from virnucpro.calling.classifier import Classifier, contig_inputs, load_classifier, save_classifier
from virnucpro.calling.features import NAMES
from virnucpro.calling.requirements import Requirements, read_requirements
from virnucpro.errors import UserError

REQUIREMENTS = Requirements(
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
        requirements=REQUIREMENTS,
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
    assert loaded.requirements == REQUIREMENTS == read_requirements(tmp_path / "c.safetensors")
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
    requirements = REQUIREMENTS if changed else dataclasses.replace(REQUIREMENTS, chunk_size=300)
    with pytest.raises(UserError, match=f"^e.h5: {message}"):
        requirements.check_embeddings(ATTRIBUTES | changed, sizes, Path("e.h5"))
    REQUIREMENTS.check_embeddings(ATTRIBUTES, [500, 300, 150], Path("e.h5"))


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
    REQUIREMENTS.check_config(CONFIG)
    with pytest.raises(UserError, match=f"^config: {message}"):
        REQUIREMENTS.check_config(CONFIG | {key: value})
