"""The original VirNucPro's classifiers: their files, their scores, and the rule for contigs."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.calling.original import random_classifier, save_as_original
from tests.encoders import dna
from virnucpro.calling import requirements
from virnucpro.calling.calls import score_sample
from virnucpro.calling.classifier import save_classifier
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.published import (
    chunk_scores,
    load_published,
    log_odds_of,
    read_pth,
    score_contigs,
    write_chunks,
    write_predictions,
)
from virnucpro.calling.requirements import read_requirements
from virnucpro.errors import UserError


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_as_original(random_classifier(20), tmp_path_factory.mktemp("original") / "500_model.pth")


def test_scores_are_those_of_the_torch_module(path: Path) -> None:
    features = 3 * np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    with torch.inference_mode():
        expected = random_classifier(20)(torch.from_numpy(features)).softmax(1).numpy()
    found = read_pth(path).scores(features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert 0.1 < (found[:, 1] > 0.5).mean() < 0.9


def test_log_odds_of_certain_scores_are_numbers() -> None:
    log_odds = log_odds_of(np.array([[1, 0], [0.5, 0.5], [0, 1]], np.float32))
    np.testing.assert_allclose(log_odds, [-np.log(1e7), 0, np.log(1e7)], rtol=1e-6)
    assert contig((0, 1))["log_odds"] == -contig((1, 0))["log_odds"] == pytest.approx(np.log(2e7))


def test_tensors_alone_are_read_too(path: Path, tmp_path: Path) -> None:
    torch.save(random_classifier(20).state_dict(), tmp_path / "state.pth")
    features = np.ones((3, 20), np.float32)
    np.testing.assert_array_equal(read_pth(tmp_path / "state.pth").scores(features), read_pth(path).scores(features))


def test_the_converted_file_is_the_same_classifier(path: Path, tmp_path: Path) -> None:
    classifier = read_pth(path, chunk_size=300)
    save_classifier(classifier, tmp_path / "c.safetensors")
    loaded = load_published(tmp_path / "c.safetensors")
    assert loaded.requirements == classifier.requirements == read_requirements(tmp_path / "c.safetensors")
    assert loaded.requirements.is_published
    assert loaded.requirements.embedding.chunk_size == 300
    features = np.ones((3, 20), np.float32)
    np.testing.assert_array_equal(loaded.scores(features), classifier.scores(features))


class Malicious:
    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.evidence}",)


class Sneaky(nn.Module):
    """Has a harmless name, and a piece of code among its attributes."""

    def __init__(self, evidence: Path) -> None:
        super().__init__()
        self.note = Malicious(evidence)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_would_run_code_is_refused_by_name(tmp_path: Path, legacy: bool) -> None:
    evidence = tmp_path / "was-here"
    code = Malicious(evidence)
    for number, content in enumerate((code, {"hidden_layer.weight": code}, Sneaky(evidence))):
        file = tmp_path / f"{number}.pth"
        torch.save(content, file, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(
            UserError, match=rf"^{file}: not loaded: it names \S+, which no classifier of VirNucPro needs"
        ):
            read_pth(file)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(code))
    with pytest.raises(UserError, match=r"plain\.pth: not loaded: "):
        read_pth(tmp_path / "plain.pth")
    assert not evidence.exists()


def test_the_class_of_a_module_gets_no_code_to_run(path: Path) -> None:
    """The class MLPClassifier of the file is replaced by an inert object; the real class is never used."""
    import __main__

    assert not hasattr(__main__, "MLPClassifier")
    with zipfile.ZipFile(path) as archive:
        assert b"__main__\nMLPClassifier" in archive.read("500_model/data.pkl")
    read_pth(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {}, "it has no hidden_layer.weight"),
        (lambda state: state | {"bn1.running_var": torch.ones(3)}, "bn1.running_var has shape"),
        (lambda state: state | {"output_layer.weight": torch.ones(3, 16)}, "output_layer.weight has shape"),
        (lambda state: state | {"bn1.bias": torch.ones(16, dtype=torch.int64)}, "it has no bn1.bias"),
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    torch.save(change(dict(random_classifier(20).state_dict())), tmp_path / "other.pth")
    with pytest.raises(UserError, match=message):
        read_pth(tmp_path / "other.pth")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"PK\3\4 cut",
        b"\x80\x02u.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02s.",
        b"\x80\x02h\x00.",
        b"\x80\x02\x86.",
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cut.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"cut\.pth: not loaded: damaged or not a classifier"):
        read_pth(tmp_path / "cut.pth")


def test_a_missing_file_says_which_files_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth: No such file or directory; give one of VirNucPro's, such as 500_"):
        read_requirements(tmp_path / "none.pth")


def test_a_published_file_is_known_by_the_id_that_git_gives_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    blob = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True).stdout.strip()
    assert read_requirements(path).embedding.chunk_size == 0, "an unknown file does not say"
    monkeypatch.setitem(requirements.PUBLISHED, blob, 300)
    known = read_requirements(path)
    assert (known.embedding.chunk_size, known.embedding.encoder_sha256) == (300, requirements.ESM2_3B)
    assert known.nucleotides
    assert known.nucleotides.encoder_sha256 == requirements.DNABERT_S
    assert (known.embedding.layers, known.nucleotides.layers) == ((36,), (12,))
    frames = {"type": "contigs", "proteins": "frames", "short_chunks": [], "max_sequence_length": 1022}
    config = frames | {
        "prior": "auto",
        "long_proteins": "windows",
        "layers": [36],
        "model": "esm2_t36_3B_UR50D",
        "chunk_size": 300,
    }
    known.check_config(config | {"nucleotide_model": "DNABERT-S"})
    for change, message in {
        "chunk_size": (500, "chunk_size is 500, but the classifier was trained with 300"),
        "model": ("esm2_t33_650M_UR50D", "model is esm2_t33_650M_UR50D, but the classifier was trained with"),
        "proteins": ("genes", "proteins is genes"),
        "nucleotide_model": (None, "takes embeddings of nucleotides by DNABERT-S as well"),
    }.items():
        value, text = message
        with pytest.raises(UserError, match=text):
            known.check_config(config | {"nucleotide_model": "DNABERT-S"} | {change: value})
    dna.save_dnabert(tmp_path / "DNABERT-2")  # weights of another model, at hand
    (tmp_path / "other.pt").touch()
    with pytest.raises(UserError, match=r"model is .*other\.pt, but the classifier was trained with esm2_t36_3B_UR50D"):
        known.check_config(config | {"nucleotide_model": "DNABERT-S", "model": str(tmp_path / "other.pt")})
    with pytest.raises(UserError, match=r"model is .*DNABERT-2, but the classifier was trained with DNABERT-S"):
        known.check_config(config | {"nucleotide_model": str(tmp_path / "DNABERT-2")})


def frames(*scores: tuple[str, float]) -> tuple[pd.DataFrame, Any]:
    table = pd.DataFrame(
        {"protein": [name for name, _ in scores], "contig": [name.partition("_chunk")[0] for name, _ in scores]}
    )
    virus = np.array([score for _, score in scores], np.float32)
    return table, np.column_stack([1 - virus, virus]).astype(np.float32)


def test_tables_have_the_form_of_the_originals(tmp_path: Path) -> None:
    """Tables are grouped by chunk, in the order of the input. A tie is viral for a chunk, and not for a frame."""
    table, scores = frames(
        ("b_chunk_1F1", 0.25),
        ("b_chunk_1R2", 0.75),
        ("b_chunk_10F1", 0.5),
        ("a_chunk_2R3", 0.125),
        ("a_chunk_1F3", 0.875),
    )
    chunks = chunk_scores(table, scores)
    write_predictions(tmp_path / "p", table["protein"], scores)
    assert (tmp_path / "p").read_text().splitlines() == [
        "Sequence_ID\tPrediction\tscore1\tscore2",
        "b_chunk_1F1\tothers\t0.75\t0.25",
        "b_chunk_1R2\tvirus\t0.25\t0.75",
        "b_chunk_10F1\tothers\t0.5\t0.5",
        "a_chunk_2R3\tothers\t0.875\t0.125",
        "a_chunk_1F3\tvirus\t0.125\t0.875",
    ]
    write_chunks(tmp_path / "c", chunks)
    assert (tmp_path / "c").read_text().splitlines() == [
        "Modified_ID\tIs_Virus\tmax_score_0\tmax_score_1",
        "b_chunk_1\tTrue\t0.75\t0.75",
        "b_chunk_10\tTrue\t0.5\t0.5",
        "a_chunk_2\tFalse\t0.875\t0.125",
        "a_chunk_1\tTrue\t0.125\t0.875",
    ]


def test_frames_chunks_and_contigs_of_a_sample_are_scored(path: Path) -> None:
    model, rows = read_pth(path), 3 * np.random.default_rng(1).normal(size=(4, 20)).astype(np.float32)
    names = ["b_chunk_1F1", "b_chunk_1R2", "b_chunk_2F1", "a_chunk_1F1"]
    table, _ = frames(*((name, 0) for name in names))
    places: dict[str, Any] = {"start": 0, "end": 500, "strand": "+", "genetic_code": 11, "residues": 100}
    proteins = describe_groups(table.assign(**places, group=range(4), chunk=[1, 1, 2, 1]))

    class Stored:
        """Features of four frames."""

        def rows(self, numbers: np.ndarray) -> np.ndarray:
            return np.asarray(rows[numbers])

    found = score_sample(model, proteins, Stored(), pd.Series({"b": 1000, "a": 500}))  # type: ignore[arg-type]
    assert found.frames is not None
    assert found.chunks is not None
    np.testing.assert_array_equal(found.frames, model.scores(rows))
    np.testing.assert_array_equal(found.log_odds, log_odds_of(model.scores(rows)))
    pd.testing.assert_frame_equal(found.chunks, chunk_scores(table, model.scores(rows)))
    assert found.contigs[["residues", "genetic_code", "chunks"]].to_numpy().tolist() == [[300, 11, 2], [100, 11, 1]]


def test_scores_are_written_with_the_digits_of_single_precision(tmp_path: Path) -> None:
    scores = np.array([[0.12100612, 0.8789939]], np.float32)
    write_predictions(tmp_path / "p", pd.Series(["x_chunk_1R1"]), scores)
    assert (tmp_path / "p").read_text().endswith("x_chunk_1R1\tvirus\t0.12100612\t0.8789939\n")
    table = pd.DataFrame({"protein": ["x_chunk_1R1"], "contig": ["x"]})
    write_chunks(tmp_path / "c", chunk_scores(table, scores))
    assert (tmp_path / "c").read_text().endswith("x_chunk_1\tTrue\t0.12100612\t0.8789939\n")


def contig(*scores: tuple[float, float]) -> pd.Series:
    """Call a contig whose chunks have these scores, for others and for virus."""
    others, virus = np.array(scores).T
    return score_contigs(pd.DataFrame({"contig": "x", "max_score_0": others, "max_score_1": virus})).loc["x"]


@pytest.mark.parametrize(
    ("scores", "difference", "tier", "counts"),
    [
        ([(0.05, 0.95)] * 6, 0.9, "high_confidence", (6, 0, 0)),
        ([(0.95, 0.05)] * 6, -0.9, "high_confidence", (0, 6, 0)),
        ([(0.05, 0.95)] * 4, 0.9, "low_confidence", (4, 0, 0)),  # too few chunks
        ([(0.28, 0.75)] * 6, 0.47, "low_confidence", (0, 0, 0)),  # none is confident
        ([(0.28, 0.75)] * 4, 0.47, "review", (0, 0, 0)),
        ([(0.05, 0.95)] * 5, 0.9, "high_confidence", (5, 0, 0)),
        ([(0.5, 0.5)] * 6, 0, "review", (0, 0, 0)),
        ([(0.5, 0.5)] * 4, 0, "review", (0, 0, 0)),
        ([(0.8, 0.9)] * 6, 0.1, "review", (0, 0, 6)),
        (
            [(0.1, 0.9)] * 3 + [(0.3, 0.7)] * 3,
            (0.8**1.5 + 0.4**1.5) / (0.8**0.5 + 0.4**0.5),
            "high_confidence",
            (3, 0, 0),
        ),
        ([(0.1, 0.9)] + [(0.3, 0.7)] * 10, None, "low_confidence", (1, 0, 0)),  # fewer than a tenth are confident
        ([(0.1, 0.9)] + [(0.3, 0.7)] * 9, None, "moderate_confidence", (1, 0, 0)),
        ([(0.1, 0.9)] + [(0.3, 0.7)] * 3, None, "low_confidence", (1, 0, 0)),  # moderate with more chunks
        ([(0.1, 0.9)] + [(0.2, 0.75)] * 6, None, "moderate_confidence", (1, 0, 0)),  # d = 0.595
        ([(0.1, 0.9)] + [(0.3, 0.7)] * 9 + [(0.75, 0.75)] * 2, None, "moderate_confidence", (1, 0, 2)),  # of 10 clear
        ([(0.95, 0.05)] + [(0.29, 0.79)] * 9, None, "low_confidence", (0, 1, 0)),  # confident of the other
    ],
)
def test_the_rule_for_contigs(
    scores: list[tuple[float, float]], difference: float | None, tier: str, counts: tuple[int, int, int]
) -> None:
    """The rule of viral-ngs, on numbers computed by hand."""
    found = contig(*scores)
    assert found["tier"] == tier
    assert tuple(found[["viral_chunks", "other_chunks", "unclear_chunks"]]) == counts
    assert found["chunks"] == len(scores)
    if difference is not None:
        assert np.tanh(found["log_odds"] / 2) == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize(
    ("less", "more", "confident", "unclear"),
    [
        (0.1, 0.8, False, False),
        (0.1, 0.81, True, False),
        (0.3, 0.9, False, False),
        (0.29, 0.9, True, False),
        (0.7, 0.9, False, False),
        (0.71, 0.9, False, True),
        (0.71, 0.71, False, True),
    ],
)
def test_chunks_are_confident_or_unclear_beyond_limits(
    less: float, more: float, confident: bool, unclear: bool
) -> None:
    counts = ["viral_chunks", "other_chunks", "unclear_chunks"]
    assert contig((less, more))[counts].tolist() == [confident, 0, unclear]
    assert contig((more, less))[counts].tolist() == [0, confident, unclear]
