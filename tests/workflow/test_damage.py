"""Whatever happens to a file between the stages, the same command gives the right results, or nothing needs them."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.workflow.project import Project, contigs
from virnucpro.calling import CALL_FILES

FOR_PEOPLE = {"prepared/chunks.fna", "prepared/nucleotides.fna"}  # no stage reads them
OF_A_SAMPLE = [
    *("prepared/proteins.faa", "prepared/proteins.tsv", "prepared/records.tsv"),
    *("duplicates.tsv", "manifests/0001.json"),
    *("shards/0001.h5", "shards/0001.json", "embeddings.h5", "provenance.json"),
    *CALL_FILES,
]
OF_A_RUN = [
    *("model.json", "token_budget.json", "provenance.json"),
    *("summary.tsv", "left_out.tsv", "packing.svg", "summary.txt", "report.html"),
    *("virnucpro_mqc.json", "virnucpro_stats_mqc.json"),
]
RESULTS = ("embeddings.h5", *CALL_FILES)
SAMPLES = {file: re.sub("[/.]", "-", file) for file in OF_A_SAMPLE}  # one for each file that something happens to


def delete(path: Path, other: Path) -> None:
    path.unlink()


def truncate(path: Path, other: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path, other: Path) -> None:
    shutil.copy2(other, path)


def alter(path: Path, other: Path) -> None:
    """Change a character in the middle, and hide it."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    middle = next((at for at in range(len(content) // 2, len(content)) if chr(content[at]).isalnum()), 0)
    content[middle] ^= 1  # another digit or letter
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def date_back(path: Path, other: Path) -> None:
    os.utime(path, (1, 1))


Blow = Callable[[Path, Path], None]
BLOWS: list[Blow] = [delete, truncate, replace, alter, date_back]


def results(project: Project) -> dict[str, bytes]:
    files = {f"{sample}/{name}" for sample in project.samples for name in RESULTS} | {"left_out.tsv", "packing.svg"}
    made = {name: (project.results / name).read_bytes() for name in files}
    table = pd.read_csv(project.results / "summary.tsv", sep="\t").drop(columns=["seconds", "tokens_per_second"])
    return made | {"summary.tsv": table.to_csv().encode()}


def finish(project: Project) -> Project:
    project.config["shard_tokens"] = 100_000
    project.add_classifier()
    project.complete("--resources", "gpu=2")
    return project


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """A sample for each of its files."""
    project = Project(tmp_path_factory.mktemp("many"), forks)
    for seed, sample in enumerate(SAMPLES.values()):
        project.add(sample, contigs(seed, 2))
    return finish(project)


def test_the_lists_above_are_complete(many: Project) -> None:
    out = many.results
    found = {str(path.relative_to(out)) for path in out.rglob("[!.]*") if path.is_file() and "logs" not in path.parts}
    assert found == {*OF_A_RUN} | {
        f"{sample}/{file}" for sample in SAMPLES.values() for file in (*OF_A_SAMPLE, *FOR_PEOPLE)
    }


def differ(project: Project, undisturbed: Project) -> list[str]:
    """Return which results are not those of an undisturbed project."""
    made = results(project)
    return [name for name, content in results(undisturbed).items() if made[name] != content]


@pytest.mark.parametrize("blow", BLOWS)
def test_a_file_of_a_sample(many: Project, blow: Blow, tmp_path: Path) -> None:
    """Of each sample another file is struck, and what was made at last is lost, so that others are read again."""
    project = many.copy(tmp_path)
    names = list(SAMPLES.values())
    for (file, sample), neighbour in zip(SAMPLES.items(), names[1:] + names[:1], strict=True):
        folder = project.results / sample
        blow(folder / file, many.results / neighbour / file)
        for lost in {"shards/0001.h5", "embeddings.h5", "contigs.tsv"} - {file}:
            (folder / lost).unlink()
    assert project.complete("--resources", "gpu=2")["call"] == len(SAMPLES)
    assert differ(project, many) == []
    assert project.planned() == {}


@pytest.mark.parametrize("blow", [delete, truncate, replace, alter])
def test_a_result_of_a_sample(many: Project, blow: Blow, tmp_path: Path) -> None:
    """Of each of some samples another result is struck, and nothing else happens."""
    project = many.copy(tmp_path)
    for sample, name in zip(project.samples, RESULTS, strict=False):
        blow(project.results / sample / name, many.results / list(project.samples)[-1] / name)
    assert project.complete() == {"merge": 1, "call": len(RESULTS), "summary": 1, "report": 1}
    assert differ(project, many) == []


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    project = Project(tmp_path_factory.mktemp("one"), forks)
    project.add("soil", contigs(1, 2))
    return finish(project)


@pytest.mark.parametrize("file", OF_A_RUN)
def test_a_file_of_a_run(one: Project, file: str, tmp_path: Path) -> None:
    project = one.copy(tmp_path)
    for blow in (alter, truncate, delete):
        blow(project.results / file, project.results)
        assert project.planned().total() > 0
    for lost in ("embeddings.h5", "contigs.tsv"):
        (project.results / "soil" / lost).unlink()
    project.complete()
    assert differ(project, one) == []
    assert project.planned() == {}


OTHER = {"classifier": "other.safetensors"}


@pytest.mark.parametrize(
    ("lost", "change", "expected"),
    [
        (["soil/prepared/proteins.tsv", "soil/contigs.tsv"], {}, "prepare call summary report"),
        (["soil/prepared/proteins.tsv", "soil/shards/0001.h5"], {}, ""),
        (["soil/manifests/0001.json"], OTHER, "prepare call summary report"),
        (["model.json"], OTHER, "fetch_model call summary report"),
        (["soil/manifests/0001.json", "soil/prepared/proteins.faa", "summary.txt"], {}, "prepare summary report"),
        (["token_budget.json"], {"per_residue": True}, "token_budget embed merge call summary report"),
    ],
    ids=str,
)
def test_what_is_lost_and_what_changed_at_once(
    one: Project, tmp_path: Path, lost: list[str], change: dict[str, Any], expected: str
) -> None:
    """Nothing runs that is not needed, though it lies between what runs; and all that is."""
    project = one.copy(tmp_path)
    project.add_classifier("other", seed=1)
    project.config |= {"classifier": "tiny.safetensors"} | change
    for name in lost:
        (project.results / name).unlink()
    assert project.planned() == Counter(expected.split())
