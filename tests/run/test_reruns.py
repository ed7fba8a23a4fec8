"""Jobs that `virnucpro run` repeats, and the reasons in its dry run."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.run.conftest import ENVIRONMENT, VIRNUCPRO
from tests.workflow.project import Project, contigs

AFTER_CALL = {"summary": "what it reads is new"}
NEW = {stage: "what it reads is new" for stage in ("embed", "merge", "call")} | AFTER_CALL


def look(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*VIRNUCPRO, "run", "--configfile", "config.yaml", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("finished"))
    project.config["shard_tokens"] = 100_000
    project.add("soil", contigs(1, 2))
    project.add_classifier()
    project.add_classifier("other", seed=1)
    project.config["classifier"] = "tiny.safetensors"
    project.write()
    assert look(project.folder).returncode == 0
    return project.folder


def change(key: str, value: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump(config | {key: value}))

    return apply


def replace_fasta(folder: Path) -> None:
    (folder / "soil.fa").write_text(contigs(2, 2))
    os.utime(folder / "soil.fa", (0, 0))


def delete(*names: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        for name in names:
            path = folder / "out" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


@pytest.mark.parametrize(
    ("happens", "expected"),
    [
        (lambda folder: (folder / "soil.fa").touch(), {}),
        (delete("work/soil/prepared", "work/soil/shards"), {}),
        (change("prior", 0.1), {"call": "--prior was auto, is 0.1"} | AFTER_CALL),
        (change("per_residue", True), NEW | {"embed": "--per-residue was not set, is set"}),
        (replace_fasta, {"prepare": "FASTA changed"} | NEW),
        (change("classifier", "other.safetensors"), {"call": "classifier changed"} | AFTER_CALL),
        (delete("soil/genes.gff3"), {"call": "not made yet"} | AFTER_CALL),
    ],
    ids=["touched", "deleted", "prior", "per-residue", "fasta", "classifier", "lost"],
)
def test_what_is_made_again_and_why(
    finished: Path, tmp_path: Path, happens: Callable[[Path], object], expected: dict[str, str]
) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(finished, folder)
    happens(folder)
    done = look(folder, "-n")
    assert done.returncode == 0, done.stderr
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()[1:]]
    assert {row[0]: row[2] for row in rows} == expected


def test_without_the_records_of_snakemake_results_are_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "out" / "work" / ".snakemake")
    done = look(tmp_path / "moved", "-n")
    assert done.returncode == 1
    assert "would be overwritten" in done.stderr.splitlines()[-1]
