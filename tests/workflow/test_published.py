"""The original VirNucPro's way, from FASTA to its two tables, by small random models of the right shapes."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer

from tests import oracle
from tests.calling.original import random_classifier, save_as_original
from tests.encoders import dna
from tests.workflow.project import Project, contigs, wait_for

HEADS = 6
D = 36  # numbers of DNABERT-S
E = 32  # of ESM-2


def make(folder: Path, forks: dict[str, str] | None = None) -> Project:
    project = Project(folder, forks) if forks else Project(folder)
    dna.save_dnabert(folder / "dna", d=D, heads=HEADS)
    save_as_original(random_classifier(D + E), folder / "500_model.pth")
    project.config |= {
        "nucleotide_model": "dna",
        "classifier": "500_model.pth",
        "call": True,
        "shard_tokens": 400,
    }
    project.add("soil", contigs(1) + ">long\n" + "GCC" * 700 + "\n>none\nTTAATTAATTAA\n>empty\n")
    project.add("gut", contigs(2, 3) + f">n\n{'GCA' * 100}NN{'GCA' * 60}\n")
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    made = make(tmp_path_factory.mktemp("published"), forks)
    ran = made.complete()
    assert {ran[rule] for rule in ("fetch_model", "token_budget")} == {2}
    return made


def read_frames(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    return dict(zip((line[1:] for line in lines[::2]), lines[1::2], strict=True))


def expected_features(project: Project, sample: str) -> tuple[list[str], np.ndarray]:
    """Return the frames of a sample and their features, by fair-esm and by a padded DNABERT-S, both in FP64."""
    prepared = project.work / sample / "prepared"
    proteins = read_frames(prepared / "proteins.faa")
    nucleotides = read_frames(prepared / "nucleotides.fna")
    assert list(proteins) == list(nucleotides)
    of_proteins = oracle.representations(oracle.random_model(2, E, 2), list(proteins.values()), torch.float64)
    means = [tokens[1:-1].mean(0).numpy() for tokens in of_proteins]
    tokenizer = Tokenizer.from_file(str(project.folder / "dna" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokens = [tokenizer.encode(sequence).ids for sequence in nucleotides.values()]
    state = dna.random_state(2, D, 40, tokenizer.get_vocab_size())
    return list(proteins), np.column_stack([np.array(dna.padded_means(state, HEADS, tokens)), np.array(means)])


@pytest.mark.parametrize("sample", ["soil", "gut"])
def test_scores_are_those_of_the_original(project: Project, sample: str) -> None:
    names, features = expected_features(project, sample)
    with torch.inference_mode():
        scores = random_classifier(D + E).double()(torch.from_numpy(features)).softmax(1).numpy()
    found = pd.read_csv(project.results / sample / "prediction_results.txt", sep="\t")
    assert found["Sequence_ID"].tolist() == names
    np.testing.assert_allclose(found[["score1", "score2"]], scores, rtol=0, atol=2e-5)
    assert found["Prediction"].tolist() == ["virus" if b > a else "others" for a, b in scores]


def test_chunks_and_contigs_follow(project: Project) -> None:
    folder = project.results / "soil"
    frames = pd.read_csv(folder / "prediction_results.txt", sep="\t")
    best = frames.groupby(frames["Sequence_ID"].str[:-2], sort=False)[["score1", "score2"]].max()
    chunks = pd.read_csv(folder / "prediction_results_highestscore.csv", sep="\t")
    assert chunks.columns.tolist() == ["Modified_ID", "Is_Virus", "max_score_0", "max_score_1"]
    assert chunks["Modified_ID"].tolist() == best.index.tolist()
    assert chunks["Is_Virus"].tolist() == (best["score2"] >= best["score1"]).tolist()
    called = pd.read_csv(folder / "contigs.tsv", sep="\t", index_col="contig", keep_default_na=False)
    assert called.loc["long", "chunks"] == 5
    assert called.loc["none", ["call", "reason", "chunks"]].tolist() == ["unresolved", "no open reading frame", 0]
    assert called.loc["empty", "reason"] == "nothing in the record"
    delta = chunks["max_score_1"] - chunks["max_score_0"]
    for name, rows in delta.groupby(chunks["Modified_ID"].str.replace(r"_chunk_\d+$", "", regex=True)):
        mean = (rows * rows.abs() ** 0.5).sum() / (rows.abs() ** 0.5).sum()
        expected = "viral" if mean > 0.3 else "cellular" if mean < -0.3 else "unresolved"
        assert called.loc[name, "call"] == expected
        assert np.tanh(float(called.loc[name, "log_odds"]) / 2) == pytest.approx(mean, abs=1e-3)


def test_frames_are_counted_from_the_beginning_of_each_contig(project: Project) -> None:
    """As the original does, whose frames the scores are of."""
    record = json.loads((project.work / "soil" / "prepare.json").read_text())
    assert record["settings"]["orientation"] == "given"


def test_files_know_their_encoder(project: Project) -> None:
    folder = project.work / "soil"
    manifest = json.loads((folder / "manifests_nucleotides" / "0001.json").read_text())
    described = manifest["embedding"]
    assert (described["encoder"], described["pooling"]) == ("dna", "mean_of_all_tokens")
    nucleotides = read_frames(folder / "prepared" / "nucleotides.fna")
    for a_bin in manifest["bins"]:
        for sequence in a_bin["sequences"]:
            assert sequence["length"] == len(nucleotides[sequence["id"]])
            assert 2 < sequence["tokens"] < sequence["length"], "lengths are in tokens of DNA"
    with h5py.File(project.results / "soil" / "embeddings_nucleotides.h5") as file:
        assert file["embedding"].shape == (len(nucleotides), D)
        assert json.loads(file.attrs["description"])["pooling"] == "mean_of_all_tokens"


def test_the_same_again_runs_nothing_and_a_change_runs_what_depends_on_it(project: Project, tmp_path: Path) -> None:
    copy = project.copy(tmp_path)
    assert copy.planned() == {}
    copy.config["min_length"] = 100
    assert copy.complete() == {"call": 2, "summary": 1}
    (copy.work / "soil" / "shards_nucleotides" / "0001.h5").unlink()
    assert copy.planned() == {}, "nothing reads it any more"
    (copy.results / "soil" / "embeddings_nucleotides.h5").unlink()
    assert copy.complete() == dict.fromkeys(("embed", "merge", "call", "summary"), 1)
    tokenizer = copy.folder / "dna" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    planned = copy.planned()
    assert [planned[rule] for rule in ("fetch_model", "token_budget", "prepare", "call")] == [1, 1, 2, 2]


def test_killed_in_the_midst_it_goes_on_to_the_same_tables(project: Project, tmp_path: Path) -> None:
    copy = make(tmp_path)
    copy.write()
    running = subprocess.Popen(copy.command(), env=copy.environment, start_new_session=True)
    wait_for(lambda: list((copy.work / "soil" / "shards_nucleotides").glob("*.h5")))
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (copy.results / "summary.tsv").exists()
    assert copy.run("--unlock").returncode == 0
    copy.complete("--rerun-incomplete")
    for name in ("prediction_results.txt", "prediction_results_highestscore.csv", "contigs.tsv"):
        assert (copy.results / "soil" / name).read_bytes() == (project.results / "soil" / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nucleotide_model": "tiny.pt"}, "a model of the kind ESM-2, but nucleotide_model takes a DNABERT-S"),
        ({"model": "dna"}, "a model of the kind DNABERT-S, but model takes an ESM-2"),
        ({"nucleotide_model": None}, "takes embeddings of nucleotides by DNABERT-S as well"),
        ({"proteins": "genes"}, "nucleotide_model embeds the nucleotides of frames; set proteins to frames"),
        ({"layers": [1, 2]}, "layers is [1, 2], but the classifier was trained with"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(
    project: Project, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    copy = project.copy(tmp_path)
    shutil.rmtree(copy.results)
    if change.get("nucleotide_model") == "tiny.pt":
        (copy.folder / "tokenizer.json").write_bytes((copy.folder / "dna" / "tokenizer.json").read_bytes())
    copy.config = {key: value for key, value in (copy.config | change).items() if value is not None}
    done = copy.run()
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_embeddings_of_other_sizes_than_the_classifiers_are_refused(project: Project, tmp_path: Path) -> None:
    copy = project.copy(tmp_path)
    save_as_original(random_classifier(D + E + 1), copy.folder / "500_model.pth")
    done = copy.run()
    assert done.returncode == 1
    assert f"takes {D + E + 1} numbers of a frame, and {D} + {E} were embedded" in done.stderr


def test_a_training_takes_both(tmp_path: Path, forks: dict[str, str]) -> None:
    project = make(tmp_path, forks)
    rows = ["fasta\trecord\tlabel\tgroup\tkind\tsplit\n"]
    for number in range(6):
        label = "viral" if number % 2 else "cellular"
        bases = "AACCCG" if number % 2 else "ACGGGT"
        rng = np.random.default_rng(number)
        (tmp_path / f"g{number}.fa").write_text(f">g{number}\n{''.join(rng.choice(list(bases), 8000))}\n")
        rows.append(f"g{number}.fa\t\t{label}\tgroup{number}\t{label}\t{'test' if number > 3 else 'train'}\n")
    (tmp_path / "training.tsv").write_text("".join(rows))
    project.config |= {"training": "training.tsv", "training_bases": 8000, "shard_tokens": 50_000}
    done = project.run("--", "train")
    assert done.returncode == 0, done.stderr
    project.config["classifier"] = "out/training/classifier/classifier.safetensors"
    del project.config["training"]
    project.complete()
    assert not (project.results / "soil" / "prediction_results.txt").exists()
    del project.config["nucleotide_model"]
    assert "takes embeddings of nucleotides by dna as well" in project.run("-n").stderr
