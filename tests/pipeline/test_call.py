"""call: what it refuses, on files that prepare wrote and embeddings made up."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from virnucpro.calling.classifier import Classifier, save_classifier
from virnucpro.calling.features import NAMES
from virnucpro.calling.requirements import Requirements
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError
from virnucpro.pipeline.call import call
from virnucpro.pipeline.prepare import prepare_contigs

ATTRIBUTES = {"model": "tiny", "model_sha256": "a" * 64, "layer": 2, "pooling": "mean"}
EMBED_DIM = 4


def constant_classifier(path: Path) -> Path:
    """Write a classifier that has learned nothing: all contigs get the same log-odds."""
    inputs, contig_inputs = EMBED_DIM + 3, 1 + len(NAMES)
    requirements = Requirements("tiny", "a" * 64, "2", "mean", 500, [], 1.5, 0.5, 50)
    zeros = {"mean": inputs, "hidden_bias": (1, 2, 3), "output_weight": (1, 2, 3), "output_bias": (1, 2)}
    zeros |= {"contig_mean": contig_inputs, "contig_weight": contig_inputs, "contig_bias": 1}
    save_classifier(
        Classifier(
            **{name: np.zeros(shape, np.float32) for name, shape in zeros.items()},
            scale=np.ones(inputs, np.float32),
            hidden_weight=np.zeros((1, 2, 3, inputs), np.float16),
            contig_scale=np.ones(contig_inputs, np.float32),
            requirements=requirements,
        ),
        path,
    )
    return path


def test_frames_of_a_contig_that_is_not_in_the_fasta_are_refused(
    tmp_path: Path, rng: random.Random, write_fasta: Callable[..., Path]
) -> None:
    contigs = {name: "".join(rng.choices("ACG", k=900)) for name in ("a", "b", "c")}
    sample = tmp_path / "sample"
    prepare_contigs(write_fasta(contigs), sample / "prepared")
    frames = read_table(sample / "prepared" / "frames.tsv", "frame", "contig")
    assert set(frames["contig"]) == set(contigs)
    with new_embedding_file(sample / "embeddings.h5", frames["frame"].tolist(), (EMBED_DIM,), ATTRIBUTES):
        pass
    classifier = constant_classifier(tmp_path / "c.safetensors")
    call(write_fasta(contigs), sample, classifier)
    written = {path: path.read_bytes() for path in sample.iterdir() if path.is_file()}
    assert len(written[sample / "contigs.tsv"].splitlines()) == 4

    del contigs["b"]
    with pytest.raises(UserError, match="no contig b, which has frames; run the prepare stage again"):
        call(write_fasta(contigs), sample, classifier)
    assert {path: path.read_bytes() for path in sample.iterdir() if path.is_file()} == written
