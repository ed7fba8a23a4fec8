"""Training and calling, by Snakemake for real; two kinds of composition stand for viral and cellular genomes."""

import gzip
import json
import random
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.project import Project

BASES = {"viral": "AACCCG", "cellular": "ACGGGT"}  # no stop where there is no T; few with one in six


def genome(label: str, seed: int, length: int = 12_000) -> str:
    return "".join(random.Random(seed).choices(BASES[label], k=length))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("calls"))
    rows = ["fasta\trecord\tlabel\tgroup\tkind\tsplit\tnote\n"]
    for number in range(10):
        label = "viral" if number % 2 else "cellular"
        name = f"g{number}.fa"
        (made.folder / name).write_text(
            f">a{number}\n{genome(label, number)}\n>b{number}\n{genome(label, 50 + number)}\n"
        )
        record = f"a{number}" if number == 4 else ""
        split = "test" if number > 7 else "train"
        rows.append(f"{name}\t{record}\t{label}\tgroup{number}\t{label}{number % 4 // 2}\t{split}\t-\n")
    (made.folder / "training.tsv").write_text("".join(rows))
    made.config |= {"training": "training.tsv", "training_bases": 20_000, "token_budget": 4096, "shard_tokens": 50_000}
    made.add("soil", f">v\n{genome('viral', 98, 5000)}\n>c\n{genome('cellular', 99, 5000)}\n>none\nAC\n>empty\n")
    done = made.run("--", "train")
    assert done.returncode == 0, done.stderr
    return made


def test_a_training_writes_what_its_documentation_says(project: Project) -> None:
    folder = project.results / "training" / "classifier"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"cross-validation", "cross-validation, 3 to 10 kb", "test"} <= set(metrics)
    assert metrics["test"]["groups"] == 2
    assert metrics["test"]["auroc"]["value"] == 1
    card = (folder / "model_card.md").read_text()
    assert "| group8 | test |" in card
    assert "| group1 | train |" in card
    assert "<svg" in (folder / "evaluation.svg").read_text()
    fragments = pd.read_csv(project.work / "training" / "fragments.tsv", sep="\t")
    assert "b4" not in set(fragments["record"]), "only a4 of that file is in the table"
    scores = pd.read_csv(folder / "scores.tsv", sep="\t")
    assert scores["fragment"].tolist() == fragments["fragment"].tolist()
    for (_, _), rows in fragments.groupby(["fasta", "record"]):
        spans = sorted(zip(rows["start"], rows["end"], strict=True))
        assert all(a[1] <= b[0] for a, b in pairwise(spans)), "fragments overlap"
    taken = (fragments["end"] - fragments["start"]).groupby(fragments["group"]).sum()
    assert taken["group8"] < taken["group0"], "a group for testing gets half"


def test_contigs_are_called_by_the_classifier(project: Project) -> None:
    project.config |= {"call": True, "classifier": "out/training/classifier/classifier.safetensors"}
    project.config |= {"prior": 0.5, "max_fdr": 0.3}  # so small a training is not sure of much
    done = project.run()
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(project.results / "soil" / "contigs.tsv", sep="\t", keep_default_na=False)
    assert table["contig"].tolist() == ["v", "c", "none", "empty"]
    assert table["call"].tolist() == ["viral", "cellular", "unresolved", "unresolved"], table["log_odds"]
    assert table["reason"].tolist() == ["", "", "no open reading frame", "nothing in the record"]
    frames = pd.read_csv(project.results / "soil" / "genes.tsv", sep="\t")
    proteins = (project.work / "soil" / "prepared" / "proteins.faa").read_text().split()
    assert [f">{name}" for name in frames["protein"]] == proteins[::2]
    assert (frames.groupby("contig").size()[["v", "c"]].tolist()) == table["genes"].tolist()[:2]
    viral = gzip.decompress((project.results / "soil" / "viral.fasta.gz").read_bytes()).decode().splitlines()
    assert viral[0].split()[0] == ">v"
    assert "".join(viral[1:]) == genome("viral", 98, 5000)
    summary = pd.read_csv(project.results / "summary.tsv", sep="\t")
    assert summary.loc[0, ["viral", "cellular", "unresolved"]].tolist() == [1, 1, 2]
    assert "1 viral, 1 cellular, 2 unresolved" in done.stdout + done.stderr


def test_a_classifier_of_other_chunks_is_refused_before_anything_runs(project: Project) -> None:
    before = project.stamps(".")
    project.config |= {"call": True, "classifier": "out/training/classifier/classifier.safetensors", "chunk_size": 300}
    done = project.run()
    project.config["chunk_size"] = 500
    assert done.returncode == 1
    assert "virnucpro: error: config: chunk_size is 300, but the classifier was trained with 500" in done.stderr
    assert "Traceback" not in done.stderr
    assert project.stamps(".") == before


def test_the_same_seed_gives_the_same_classifier(project: Project) -> None:
    path = project.results / "training" / "classifier" / "classifier.safetensors"
    before = path.read_bytes()
    done = project.run("--forcerun", "train", "--", "train")
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("g1.fa\t\tbacterial\tx\t\ttrain\t", "line 12: label is 'bacterial', but must be one of viral, cellular"),
        ("g1.fa\t\tcellular\tgroup1\t\ttrain\t", "line 12: group group1 is cellular here and viral before"),
        ("g1.fa\t\tviral\tgroup1\tviral0\ttest\t", "line 12: group group1 is test here and train before"),
        ("absent.fa\t\tviral\tx\t\ttrain\t", "line 12: absent.fa: no such file"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(project: Project, tmp_path: Path, line: str, message: str) -> None:
    table = project.folder / "training.tsv"
    right = table.read_text()
    table.write_text(f"{right}{line}\n")
    done = project.run("--", "train")
    table.write_text(right)
    assert done.returncode == 1
    assert f"virnucpro: error: training.tsv: {message}" in done.stderr
    assert "Traceback" not in done.stderr
