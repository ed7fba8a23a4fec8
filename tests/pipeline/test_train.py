"""train: small trainings from files to files, and what it refuses or leaves out."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.data.test_embeddings import DESCRIPTION
from tests.records import record_embeddings
from virnucpro.calling.classifier import load_classifier
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.provenance import write_provenance
from virnucpro.data.tables import read_table, write_table
from virnucpro.errors import UserError
from virnucpro.pipeline.prepare import prepare_frames
from virnucpro.pipeline.train import train
from virnucpro.proteins.table import read_proteins
from virnucpro.training import evaluation

STOPS = "TTAATTAATTAA" * 200  # a stop in all six frames every 12 bases
EMBEDDING = replace(DESCRIPTION, encoder="tiny", embed_dim=2)


def write_training(folder: Path, groups: dict[str, list[str]], embedding: EmbeddingDescription = EMBEDDING) -> Path:
    """Write a training's folder up to embeddings that tell the label; names of groups begin with v or c."""
    sequences = [(group, sequence) for group, members in groups.items() for sequence in members]
    table = pd.DataFrame(sequences, columns=["group", "sequence"])
    table["fragment"] = [f"fragment_{number}" for number in range(1, len(table) + 1)]
    records = (f">{row.fragment}\n{row.sequence}\n" for row in table.itertuples())
    (folder / "fragments.fna.gz").write_text("".join(records))
    table["label"] = np.where(table["group"].str.startswith("v"), "viral", "cellular")
    table = table.assign(start=0, end=table["sequence"].str.len(), fasta="f", kind="", split="train")
    table["record"] = "r" + table["group"]
    write_table(table.drop(columns="sequence"), folder / "fragments.tsv")
    rows = "".join(f"f\tr{group}\t{'viral' if group[0] == 'v' else 'cellular'}\t{group}\n" for group in groups)
    (folder / "training.tsv").write_text(f"fasta\trecord\tlabel\tgroup\n{rows}")
    fragments = [folder / "fragments.fna.gz", folder / "fragments.tsv"]
    write_provenance(folder / "fragment.json", "fragment", {}, {}, fragments)
    prepare_frames(folder / "fragments.fna.gz", folder / "prepared", 500)
    frames = read_proteins(folder / "prepared", "protein", "contig")
    viral = (table.set_index("fragment").loc[frames["contig"], "label"] == "viral").to_numpy()
    with new_embedding_file(folder / "embeddings.h5", frames["protein"].tolist(), embedding) as file:
        signal = np.where(viral, 1, -1)[:, None] + np.random.default_rng(0).normal(size=(len(frames), 2))
        if embedding.row_shape == (2,):
            file["embedding"][...] = signal
    record_embeddings(folder)
    return folder


def run(folder: Path) -> pd.DataFrame:
    train(folder, folder, folder / "training.tsv", folder / "classifier", 0)
    return read_table(folder / "classifier" / "scores.tsv", "fragment")


@pytest.fixture
def open_dna(rng: random.Random) -> Callable[[int], list[str]]:
    """Return DNA that is open in some frames."""
    return lambda count: ["".join(rng.choices("ACG", k=rng.randint(1600, 3000))) for _ in range(count)]


def test_two_groups_a_label_and_one_without_frames(
    tmp_path: Path,
    open_dna: Callable[[int], list[str]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = {"v0": open_dna(6), "v1": open_dna(6), "c0": open_dna(6), "c1": [*open_dna(6), STOPS], "closed": [STOPS]}
    folder = write_training(tmp_path, groups)
    monkeypatch.setattr(evaluation, "RESAMPLES", 20)
    monkeypatch.setattr(evaluation, "DRAWS", 2)
    scores = run(folder)
    assert "the threshold of cellular calls from 1.5 to 3 kb rests on 12 viral fragments" in caplog.text
    assert "group closed is left out: its fragments have no protein" in caplog.text
    assert scores["group"].value_counts().to_dict() == {"v0": 6, "v1": 6, "c0": 6, "c1": 7}
    assert scores.set_index("fragment").loc["fragment_25", "call"] == "unresolved"
    classifier = load_classifier(folder / "classifier" / "classifier.safetensors")
    assert len(classifier.hidden_weight) == 2, "a network a fold"
    metrics = json.loads((folder / "classifier" / "metrics.json").read_text())
    assert metrics["cross-validation"]["groups"] == 4
    assert metrics["cross-validation"]["auroc"]["value"] > 0.9
    card = (folder / "classifier" / "model_card.md").read_text()
    assert "the mean of 2 networks" in card
    assert "| viral | train | 12 |" in card
    assert "nan" not in card


def test_a_masked_span_takes_no_part(
    tmp_path: Path,
    open_dna: Callable[[int], list[str]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_training(tmp_path, {name: open_dna(5) for name in ("v0", "v1", "c0", "c1")})
    sheet = (folder / "training.tsv").read_text().replace("group\n", "group\tmask\n")
    (folder / "training.tsv").write_text(sheet.replace("cellular\tc0\n", "cellular\tc0\t1500-1700\n"))
    fragments = pd.read_csv(folder / "fragments.tsv", sep="\t")
    fragments.loc[fragments["group"] == "c0", "start"] = [0, 1600, 1700, 1800, 1900]
    fragments.loc[fragments["group"] == "c0", "end"] = [1499, 3000, 3000, 3000, 3000]
    write_table(fragments, folder / "fragments.tsv")
    write_provenance(
        folder / "fragment.json", "fragment", {}, {}, [folder / "fragments.fna.gz", folder / "fragments.tsv"]
    )
    monkeypatch.setattr(evaluation, "RESAMPLES", 20)
    monkeypatch.setattr(evaluation, "DRAWS", 2)
    caplog.set_level("INFO")
    scores = run(folder)
    assert scores["group"].value_counts().to_dict() == {"v0": 5, "v1": 5, "c0": 4, "c1": 5}
    assert set(scores.loc[scores["group"] == "c0", "start"]) == {0, 1700, 1800, 1900}
    assert "1 fragments are left out: the table masks them" in caplog.text


def test_a_label_with_one_group_that_has_frames_is_refused(
    tmp_path: Path, open_dna: Callable[[int], list[str]]
) -> None:
    folder = write_training(tmp_path, {"v0": open_dna(2), "v1": [STOPS], "c0": open_dna(2), "c1": open_dna(2)})
    with pytest.raises(UserError, match="two or more viral groups with proteins, found 1"):
        run(folder)
    assert not (folder / "classifier").exists()


def test_other_embeddings_are_refused(tmp_path: Path, open_dna: Callable[[int], list[str]]) -> None:
    groups = {name: open_dna(1) for name in ("v0", "v1", "c0", "c1")}
    folder = write_training(tmp_path, groups)
    whole = (folder / "fragments.tsv").read_text()
    (folder / "fragments.tsv").write_text(whole.replace("fragment_2\t", "fragment_9\t"))
    with pytest.raises(UserError, match=r"fragments\.tsv: not what fragment wrote"):
        run(folder)
    fragments = [folder / "fragments.fna.gz", folder / "fragments.tsv"]
    write_provenance(folder / "fragment.json", "fragment", {}, {}, fragments)
    with pytest.raises(UserError, match=r"fragments\.tsv: not the fragments whose proteins were prepared"):
        run(folder)
