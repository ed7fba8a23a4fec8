"""Results are never older than what they claim to come from, and nothing runs for nothing."""

import os
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import AMINO_ACIDS, ROOT
from tests.workflow.project import ENVIRONMENT, Project, contigs
from virnucpro.calling import CALL_FILES
from virnucpro.data.fasta import BEGINNING

RESULTS = ("embeddings.h5", *CALL_FILES[:-1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """A sample with calls."""
    project = Project(tmp_path_factory.mktemp("finished"), forks)
    project.add("soil", contigs(1, 2))
    project.add_classifier()
    project.complete()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of it: all is in another place, under other dates."""
    return finished.copy(tmp_path)


@pytest.fixture(scope="module")
def uncalled(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """A sample in two shards, and no calls."""
    project = Project(tmp_path_factory.mktemp("uncalled"), forks)
    project.add("soil", contigs(1))
    project.complete()
    return project


def results(project: Project) -> dict[str, bytes]:
    return {name: (project.results / "soil" / name).read_bytes() for name in RESULTS}


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fails(project: Project, message: str) -> None:
    done = project.run()
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Nothing to be done" not in done.stderr


def test_pack_fails_until_the_budget_is_right(project: Project, finished: Project) -> None:
    project.config["token_budget"] = 60
    for _ in range(2):
        fails(project, "virnucpro pack: error: sample soil: token_budget 60 is smaller than sequence")
    project.config["token_budget"] = 1024
    assert project.complete().total() > 0
    assert results(project) == results(finished)


def test_prepare_fails_until_the_contigs_are_right(project: Project, finished: Project) -> None:
    right = (project.folder / "soil.fa").read_text()
    project.add("soil", f">a\n{'ACGT' * BEGINNING}\n>a\nACGT\n")  # at the beginning it would stop the start
    for _ in range(2):
        fails(project, "virnucpro prepare: error: sample soil: soil.fa: line 3: two records are named a")
    project.add("soil", right)
    assert project.complete().total() > 0
    assert results(project) == results(finished)


@pytest.mark.parametrize("change", ["chunks", "proteins", "nothing"])
def test_no_calls_lie_beside_what_they_were_not_made_from(project: Project, finished: Project, change: str) -> None:
    if change == "proteins":
        project.add("soil", f">p\n{''.join(random.Random(1).choices(AMINO_ACIDS, k=90))}\n", kind="proteins")
    else:
        project.config["call"] = False
        project.config["chunk_size"] = 300 if change == "chunks" else 500
    project.complete()
    assert [name for name in CALL_FILES if (project.results / "soil" / name).exists()] == []
    assert list(pd.read_csv(project.results / "summary.tsv", sep="\t")["sample"]) == ["soil"]
    project.add("soil", (finished.folder / "soil.fa").read_text())
    project.config = finished.config.copy()
    project.complete()
    assert results(project) == results(finished)


LOOKS = ["-np", "--summary", "--detailed-summary", "--list-rules", "--list-input-changes", "--filegraph", "--dag"]
LOOKS += ["--rulegraph", "--lint", "--report", "--touch"]


@pytest.mark.parametrize("damaged", [True, False])
def test_a_look_changes_nothing(project: Project, damaged: bool) -> None:
    """--touch may change dates, and --report writes its page beside the results."""
    folder = project.results / "soil"
    if damaged:
        project.config["chunk_size"] = 400
        project.config["call"] = False
        (folder / "duplicates.tsv").unlink()
        for name in ("embeddings.h5", "prepared/proteins.faa", "shards/0001.json", "manifests/0001.json"):
            os.truncate(folder / name, (folder / name).stat().st_size // 2)
    before = content(project.results), project.stamps(".")
    for look in LOOKS:
        done = project.run(look)
        # A target is missing that --touch and --report are asked to touch, and to show.
        assert done.returncode == 0, (look, done.stderr)
        assert "Traceback" not in done.stderr
        assert content(project.results) == before[0], look
        assert look == "--touch" or project.stamps(".") == before[1], look
    if damaged:
        assert project.planned()["embed"] == 1, "it was touched, which makes it no newer"
    else:
        assert project.planned() == {}


def test_contigs_with_an_older_date_are_called(project: Project) -> None:
    project.add("soil", contigs(7, 2))
    os.utime(project.folder / "soil.fa", (0, 0))
    assert project.complete() == dict.fromkeys(["prepare", "embed", "merge", "call", "summary", "report"], 1)
    called = pd.read_csv(project.results / "soil" / "contigs.tsv", sep="\t")
    assert called["contig"].tolist() == ["s7_c0", "s7_c1"]


def test_dates_alone_rerun_nothing(project: Project) -> None:
    (project.folder / "soil.fa").touch()
    rng = random.Random(1)
    for path in project.results.rglob("*"):
        os.utime(path, (0, rng.randrange(2_000_000_000)))
    assert project.planned() == {}
    assert "Nothing to be done" in project.run().stderr


def test_results_that_are_copied_to_another_run_are_its_own(finished: Project, tmp_path: Path) -> None:
    project = Project(tmp_path, finished.environment)
    project.add("soil", contigs(1, 2))
    project.add_classifier()
    subprocess.run(["cp", "-r", finished.results, project.results], check=True)
    assert project.planned() == {}
    assert "Nothing to be done" in project.run().stderr


def test_without_what_snakemake_has_noted(project: Project) -> None:
    shutil.rmtree(project.folder / ".snakemake")
    assert project.planned() == {}
    project.config["token_budget"] = 2048
    changed = dict.fromkeys(["token_budget", "prepare", "embed", "merge", "call", "summary", "report"], 1)
    assert project.complete() == changed


@pytest.mark.parametrize(
    "change",
    [{"device": "cpu"}, {"compile": True}, {"precision": "float32"}, {"seed": 7}, {"layers": [2]}],
    ids=str,
)
def test_what_changes_no_result_runs_nothing(project: Project, change: dict[str, Any]) -> None:
    project.config = dict(reversed((project.config | change).items()))  # nor does the order of keys
    assert project.planned() == {}


def test_another_version_of_the_package_runs_what_it_makes_otherwise(project: Project) -> None:
    copy = project.folder / "another"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".*", "tests", "docs", "benchmarks"))
    project.write()
    command = [word.replace(str(ROOT), str(copy)) for word in project.command("-n")]
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}

    def run_with(module: str, line: str, change: str) -> str:
        path = copy / "virnucpro" / module
        assert line in path.read_text()
        path.write_text(path.read_text().replace(line, change))
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "Job stats" not in run_with("__init__.py", '__version__ = "', '__version__ = "9.')
    run = run_with("data/provenance.py", "VERSION = 1  #", "VERSION = 9  #")
    assert "prepare runs again, first for out/soil: another version of virnucpro made it" in run


ALL = Counter({"prepare": 1, "embed": 2, "merge": 1, "summary": 1})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"proteins": "genes"}, ALL),
        ({"chunk_size": 400}, ALL),
        ({"short_chunks": [100]}, ALL),
        ({"genetic_codes": [1, 4]}, ALL),
        ({"layers": [1]}, ALL),
        ({"max_sequence_length": 100}, ALL),
        ({"long_proteins": "cut"}, ALL),
        ({"shard_tokens": 100_000}, ALL - Counter(["embed"])),
        ({"per_residue": True}, ALL - Counter(["prepare"])),
        ({"token_budget": 2048}, ALL + Counter(["token_budget"])),
        ({"precision": "bfloat16"}, ALL + Counter(["token_budget"])),
        ({"model": "other.pt"}, ALL + Counter(["fetch_model", "token_budget"])),
    ],
    ids=str,
)
def test_what_changes_results_runs_what_depends_on_it(
    uncalled: Project, tmp_path: Path, change: dict[str, Any], expected: Counter[str]
) -> None:
    project = uncalled.copy(tmp_path)
    project.config |= change
    shutil.copy(project.folder / "tiny.pt", project.folder / "other.pt")
    assert project.planned() == expected


def test_another_classifier_calls_again(project: Project, finished: Project) -> None:
    project.add_classifier(seed=1)
    assert project.complete() == {"call": 1, "summary": 1, "report": 1}
    changed = results(project)
    assert changed.pop("embeddings.h5") == results(finished)["embeddings.h5"]
    assert changed["contigs.tsv"] != results(finished)["contigs.tsv"]


def test_what_a_kill_left_is_gone_after_the_next_run(project: Project) -> None:
    files = [path for path in project.results.rglob("[!.]*") if path.is_file() and "logs" not in path.parts]
    assert len(files) > 18
    left = [path.parent / f".{path.name}.x1y2z3" for path in files]
    left.append(project.results / "soil" / "shards" / ".0002.h5.x1y2z3")  # of a shard that is no more
    for folder in left:
        folder.mkdir()
        (folder / "half").write_text("written")
    assert project.complete("--forceall")["prepare"] == 1
    assert [folder for folder in left if folder.exists()] == []


def test_call_by_hand_refuses_other_contigs_of_the_same_names(project: Project) -> None:
    fasta = project.folder / "soil.fa"
    fasta.write_text(fasta.read_text().replace("A", "T"))
    before = content(project.results)
    command = ["python", "-m", "virnucpro", "call", "soil.fa", "out/soil", "--classifier", "tiny.safetensors"]
    done = subprocess.run(command, cwd=project.folder, env=project.environment, capture_output=True, text=True)
    assert done.returncode == 1
    message = "soil.fa: not the file that out/soil/prepared was made from; run the prepare stage again"
    assert done.stderr == f"virnucpro call: error: {message}\n"
    assert content(project.results) == before
