"""call: what it refuses, on files that prepare wrote and embeddings made up."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling.classifier import Classifier, frame_inputs, load_classifier, save_classifier
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import NAMES
from virnucpro.calling.requirements import Requirements
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file
from virnucpro.data.provenance import write_provenance
from virnucpro.errors import UserError
from virnucpro.pipeline import call as stage
from virnucpro.pipeline.call import call
from virnucpro.pipeline.prepare import prepare_contigs
from virnucpro.proteins.table import read_proteins

EMBEDDING = replace(DESCRIPTION, embed_dim=4)


def random_classifier(path: Path) -> Path:
    """Write a classifier of two experts with random weights."""
    random_floats = np.random.default_rng(0).normal
    inputs, contig_inputs = EMBEDDING.embed_dim + 3, 2 + len(NAMES)
    shapes = {"mean": inputs, "hidden_bias": (2, 2, 3), "output_weight": (2, 2, 3), "output_bias": (2, 2)}
    shapes |= {"contig_mean": contig_inputs, "contig_weight": contig_inputs, "contig_bias": 1}
    save_classifier(
        Classifier(
            **{name: random_floats(size=shape).astype(np.float32) for name, shape in shapes.items()},
            scale=np.ones(inputs, np.float32),
            hidden_weight=random_floats(size=(2, 2, 3, inputs)).astype(np.float16),
            contig_scale=np.ones(contig_inputs, np.float32),
            requirements=Requirements(EMBEDDING, viral_from=1.5, cellular_to=0.5, fewest_residues=50),
        ),
        path,
    )
    return path


@pytest.fixture
def contigs(rng: random.Random) -> dict[str, str]:
    return {name: "".join(rng.choices("ACG", k=900)) for name in ("a", "b", "c", "d")}


@pytest.fixture
def sample(tmp_path: Path, contigs: dict[str, str], write_fasta: Callable[..., Path]) -> Path:
    """The folder of a sample whose embeddings are random."""
    folder = tmp_path / "sample"
    prepare_contigs(write_fasta(contigs), folder / "prepared", 500)
    frames = read_proteins(folder / "prepared", "protein", "contig")
    assert set(frames["contig"]) == set(contigs)
    with new_embedding_file(folder / "embeddings.h5", frames["protein"].tolist(), EMBEDDING) as file:
        file["embedding"][...] = np.random.default_rng(1).normal(size=(len(frames), EMBEDDING.embed_dim))
    write_provenance(folder / "embeddings.provenance.json", "merge", {}, {}, [folder / "embeddings.h5"])
    return folder


def results(sample: Path) -> dict[str, bytes]:
    return {name: (sample / name).read_bytes() for name in ("contigs.tsv", "frames.tsv", "viral.fasta.gz")}


def test_blocks_of_contigs_make_no_difference(
    sample: Path,
    contigs: dict[str, str],
    tmp_path: Path,
    write_fasta: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classifier = random_classifier(tmp_path / "c.safetensors")
    call(write_fasta(contigs), sample, classifier)
    whole = results(sample)
    monkeypatch.setattr(stage, "BLOCK", 10)
    assert len(stage._blocks(read_proteins(sample / "prepared"))) > 2
    call(write_fasta(contigs), sample, classifier)
    assert results(sample) == whole


def test_the_score_of_a_frame_is_that_of_the_expert_on_all_organisms(
    sample: Path, contigs: dict[str, str], tmp_path: Path, write_fasta: Callable[..., Path]
) -> None:
    path = random_classifier(tmp_path / "c.safetensors")
    call(write_fasta(contigs), sample, path)
    frames = describe_groups(read_proteins(sample / "prepared"))
    embeddings = EmbeddingFile(sample / "embeddings.h5").rows(np.arange(len(frames)))
    first, second = load_classifier(path).frame_log_odds(frame_inputs(embeddings, frames)).T
    written = pd.read_csv(sample / "frames.tsv", sep="\t")
    assert written["protein"].tolist() == frames["protein"].tolist()
    np.testing.assert_allclose(written["log_odds"], first, atol=6e-4)
    np.testing.assert_allclose(written["score"], 1 / (1 + np.exp(-first)), atol=6e-5)
    assert abs(first - second).min() > 1e-3


def test_contigs_of_the_same_names_and_other_letters_are_refused(
    sample: Path, contigs: dict[str, str], tmp_path: Path, write_fasta: Callable[..., Path]
) -> None:
    classifier = random_classifier(tmp_path / "c.safetensors")
    call(write_fasta(contigs), sample, classifier)
    written = {path: path.read_bytes() for path in sample.iterdir() if path.is_file()}
    assert len(written[sample / "contigs.tsv"].splitlines()) == 5

    for others in (contigs | {"b": contigs["c"]}, {name: contigs[name] for name in ("a", "c")}):
        with pytest.raises(UserError, match=r"input\.fa: not the file that .*prepared was made from; run the prepare"):
            call(write_fasta(others), sample, classifier)
        assert {path: path.read_bytes() for path in sample.iterdir() if path.is_file()} == written
