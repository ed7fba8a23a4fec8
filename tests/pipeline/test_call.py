"""call: what it refuses, on files that prepare wrote and embeddings made up."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling.classifier import Classifier, save_classifier
from virnucpro.calling.features import NAMES
from virnucpro.calling.requirements import Requirements
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.provenance import write_provenance
from virnucpro.errors import UserError
from virnucpro.pipeline.call import call
from virnucpro.pipeline.prepare import prepare_contigs
from virnucpro.proteins.table import read_proteins

EMBEDDING = replace(DESCRIPTION, embed_dim=4)


def constant_classifier(path: Path) -> Path:
    """Write a classifier that has learned nothing: all contigs get the same log-odds."""
    inputs, contig_inputs = EMBEDDING.embed_dim + 3, 1 + len(NAMES)
    requirements = Requirements(EMBEDDING, viral_from=1.5, cellular_to=0.5, fewest_residues=50)
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


def test_contigs_of_the_same_names_and_other_letters_are_refused(
    tmp_path: Path, rng: random.Random, write_fasta: Callable[..., Path]
) -> None:
    contigs = {name: "".join(rng.choices("ACG", k=900)) for name in ("a", "b", "c")}
    sample = tmp_path / "sample"
    prepare_contigs(write_fasta(contigs), sample / "prepared", 500)
    frames = read_proteins(sample / "prepared", "protein", "contig")
    assert set(frames["contig"]) == set(contigs)
    embeddings = sample / "embeddings.h5"
    with new_embedding_file(embeddings, frames["protein"].tolist(), EMBEDDING):
        pass
    write_provenance(sample / "embeddings.provenance.json", "merge", {}, {}, [embeddings])
    classifier = constant_classifier(tmp_path / "c.safetensors")
    call(write_fasta(contigs), sample, classifier)
    written = {path: path.read_bytes() for path in sample.iterdir() if path.is_file()}
    assert len(written[sample / "contigs.tsv"].splitlines()) == 4

    for others in (contigs | {"b": contigs["c"]}, {name: contigs[name] for name in ("a", "c")}):
        with pytest.raises(UserError, match=r"input\.fa: not the file that .*prepared was made from; run the prepare"):
            call(write_fasta(others), sample, classifier)
        assert {path: path.read_bytes() for path in sample.iterdir() if path.is_file()} == written
