"""check-virnucpro and import-classifier, on files made from the package's reference numbers."""

import logging
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.calling.original import random_classifier, save_as_original
from tests.data.test_embeddings import DESCRIPTION
from tests.records import record_embeddings
from virnucpro.calling.requirements import read_requirements
from virnucpro.cli import main
from virnucpro.data.description import NUCLEOTIDES, PROTEINS
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.pipeline.check_virnucpro import REFERENCE, WIDTHS, check_virnucpro


def sample(folder: Path, off: dict[str, float]) -> Path:
    """Write a sample with the features and scores of the reference, plus the differences `off`."""
    reference = pd.read_csv(REFERENCE, sep="\t", dtype={"frame": str})
    names = reference["frame"].tolist()
    (folder / "prepared").mkdir(parents=True)
    pd.DataFrame({"protein": names}).to_csv(folder / "prepared" / "proteins.tsv", sep="\t", index=False)
    for part, encoder in (("esm2", PROTEINS), ("dnabert_s", NUCLEOTIDES)):
        embeddings = folder / f"embeddings{encoder}.h5"
        columns = [column for column in reference if column.startswith(part)]
        dimensions = [int(column.rpartition("_")[2]) for column in columns[:-1]]
        rows = np.zeros((len(names), WIDTHS[part]), np.float32)
        rows[:, dimensions] = reference[columns[:-1]]
        rest = reference[f"{part}_norm"] ** 2 - (rows**2).sum(1)
        rows[:, 3] = np.sqrt(rest)
        rows[:, 0] += off.get(part, 0)
        with new_embedding_file(embeddings, names, description(part)) as file:
            file["embedding"][...] = rows
        record_embeddings(folder, encoder)
    scores = reference[["score1", "score2"]] + off.get("score", 0)
    table = scores.assign(Sequence_ID=names, Prediction="virus")
    table.to_csv(folder / "prediction_results.txt", sep="\t", index=False)
    return folder


def description(part: str):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(DESCRIPTION, embed_dim=WIDTHS[part], layers=(1,))


@pytest.mark.parametrize("part", ["", "esm2", "dnabert_s", "score"])
def test_it_says_what_differs(tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = sample(tmp_path / "s", {part: 0.02})
    with caplog.at_level(logging.INFO):
        assert check_virnucpro(folder, folder) == (part == "")
    verdicts = [line for line in caplog.text.splitlines() if "check:" in line]
    assert len(verdicts) == 3
    assert [line.rpartition(" ")[2] for line in verdicts] == [
        "FAIL" if name == part else "pass" for name in ("dnabert_s", "esm2", "score")
    ]


def test_the_command_fails_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sample(tmp_path / "s", {"esm2": 1})
    with pytest.raises(SystemExit) as ended:
        main(["check-virnucpro", str(folder), str(folder)])
    assert ended.value.code == 1
    assert "not what the original VirNucPro gives" in capsys.readouterr().err
    with h5py.File(folder / "embeddings.h5") as file:
        assert len(file["id"]) == 8


def test_a_classifier_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_as_original(random_classifier(8), tmp_path / "mine.pth")
    with pytest.raises(SystemExit):
        main(["import-classifier", str(path), str(tmp_path / "mine.safetensors")])
    assert "give its chunk size with --chunk-size" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["import-classifier", str(path), str(tmp_path / "mine.safetensors"), "--chunk-size", "300"])
    assert not ended.value.code
    assert read_requirements(tmp_path / "mine.safetensors").embedding.chunk_size == 300
