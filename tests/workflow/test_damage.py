"""Damage to any file between the stages never gives a wrong result.

Snakemake makes what is missing. A stage refuses what is damaged and says what to delete; then the same command gives
the right results.
"""

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

FOR_PEOPLE = {"work/SAMPLE/prepared/chunks.fna", "work/SAMPLE/prepared/nucleotides.fna"}  # no stage reads them
IN_WORK = [
    *("prepared/proteins.faa", "prepared/proteins.tsv", "prepared/records.tsv", "prepare.json"),
    *("duplicates.tsv", "screened.tsv", "manifests/0001.json", "pack.json", "shards/0001.h5", "shards/0001.json"),
    *("merge.json", "call.json"),
]
OF_A_SAMPLE = [*(f"work/SAMPLE/{name}" for name in IN_WORK), "SAMPLE/embeddings.h5", "SAMPLE/contigs.tsv"]
NOT_READ = {f"SAMPLE/{name}" for name in CALL_FILES[1:]}  # but by the page, and by people
OF_A_RUN = [
    *("work/summary.json", "work/report.json", "summary.tsv", "left_out.tsv", "packing.svg"),
    *("viral.tsv", "viral.fasta.gz", "summary.txt", "report.html", "virnucpro_mqc.tsv", "virnucpro_stats_mqc.tsv"),
]
WITHOUT_RECORD = ["work/model.json", "work/token_budget.json"]
RESULTS = ("embeddings.h5", *CALL_FILES)
SAMPLES = {file: re.sub("[/.]", "-", file.removeprefix("work/")) for file in OF_A_SAMPLE}  # one for each struck file


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


Blow = Callable[[Path, Path], None]
REFUSED = re.compile(
    r"^virnucpro [a-z-]+: error: (?:sample \S+: )?(\S+?):? .*(?:delete it,? and run|if you delete (\S+)$)", re.M
)


def results(project: Project) -> dict[str, bytes]:
    files = {f"{sample}/{name}" for sample in project.samples for name in RESULTS} | {"left_out.tsv", "packing.svg"}
    made = {name: (project.results / name).read_bytes() for name in files}
    table = pd.read_csv(project.results / "summary.tsv", sep="\t").drop(columns=["seconds", "tokens_per_second"])
    return made | {"summary.tsv": table.to_csv().encode()}


def differ(project: Project, undisturbed: Project) -> list[str]:
    """Return the results that differ from an undisturbed project."""
    made = results(project)
    return [name for name, content in results(undisturbed).items() if made[name] != content]


def complete_as_told(project: Project) -> set[str]:
    """Run until all is done, delete the files that stages ask to delete, and return their paths."""
    deleted: set[str] = set()
    while True:
        done = project.run("--keep-going", "--resources", "gpu=2")
        assert "Traceback" not in done.stderr
        if not done.returncode:
            return deleted
        told = {other or path for path, other in REFUSED.findall(done.stderr)}
        assert told - deleted, done.stderr
        for path in told:
            (project.folder / path).unlink()
        deleted |= told


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
    of_samples = {*OF_A_SAMPLE, *FOR_PEOPLE, *NOT_READ}
    expected = {file.replace("SAMPLE", sample) for file in of_samples for sample in SAMPLES.values()}
    assert found == {*OF_A_RUN, *WITHOUT_RECORD, "work/run.lock"} | expected


@pytest.mark.parametrize("blow", [delete, truncate, replace, alter])
def test_a_file_of_a_sample(many: Project, blow: Blow, tmp_path: Path) -> None:
    """In each sample another file is damaged, and the last results are lost, so that earlier files are read again."""
    project = many.copy(tmp_path)
    names = list(SAMPLES.values())
    for (file, sample), neighbour in zip(SAMPLES.items(), names[1:] + names[:1], strict=True):
        blow(project.results / file.replace("SAMPLE", sample), many.results / file.replace("SAMPLE", neighbour))
        for lost in ("work/SAMPLE/shards/0001.h5", "SAMPLE/embeddings.h5", "SAMPLE/contigs.tsv"):
            if lost != file:
                (project.results / lost.replace("SAMPLE", sample)).unlink()
    told = complete_as_told(project)
    assert (len(told) > 5) == (blow is not delete)
    assert differ(project, many) == []
    assert project.planned() == {}


def test_a_lost_result_of_a_sample(many: Project, tmp_path: Path) -> None:
    """Some samples lose one result each, and nothing else happens."""
    project = many.copy(tmp_path)
    for sample, name in zip(project.samples, RESULTS, strict=False):
        (project.results / sample / name).unlink()
    assert project.complete() == {"merge": 1, "call": len(RESULTS), "summary": 1}
    assert differ(project, many) == []


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    project = Project(tmp_path_factory.mktemp("one"), forks)
    project.add("soil", contigs(1, 2))
    return finish(project)


def test_lost_files_of_a_run_are_made_again(one: Project, tmp_path: Path) -> None:
    for number, file in enumerate(OF_A_RUN):
        project = one.copy(tmp_path / str(number))
        (project.results / file).unlink()
        assert project.planned() == {"summary": 1}, file


@pytest.mark.parametrize("blow", [truncate, alter])
def test_damaged_files_of_a_run_are_written_anew(one: Project, blow: Blow, tmp_path: Path) -> None:
    project = one.copy(tmp_path)
    for file in OF_A_RUN:
        blow(project.results / file, project.results)
    (project.results / "soil" / "contigs.tsv").unlink()
    assert project.complete() == {"call": 1, "summary": 1}
    assert differ(project, one) == []
    for file in set(OF_A_RUN) - {"report.html", "work/report.json", "work/summary.json", "summary.tsv", "summary.txt"}:
        assert (project.results / file).read_bytes() == (one.results / file).read_bytes(), file


@pytest.mark.parametrize("name", ["regions.tsv", "genes.gff3"], ids=["summary", "page"])
def test_an_altered_file_is_not_shown(one: Project, tmp_path: Path, name: str) -> None:
    project = one.copy(tmp_path)
    for altered in ("summary.tsv", f"soil/{name}"):
        alter(project.results / altered, project.results)
    (project.results / "report.html").unlink()
    assert complete_as_told(project) == {f"out/soil/{name}"}
    assert differ(project, one) == []


@pytest.mark.parametrize(
    ("name", "change"), [("model", {"token_budget": 2048}), ("token_budget", {"genetic_codes": [1, 4]})], ids=str
)
def test_a_truncated_card_is_refused(one: Project, tmp_path: Path, name: str, change: dict[str, Any]) -> None:
    project = one.copy(tmp_path)
    project.config |= change
    truncate(project.work / f"{name}.json", project.results)
    assert complete_as_told(project) == {f"out/work/{name}.json"}
    assert project.planned() == {}


OTHER = {"classifier": "other.safetensors"}
ALL = "prepare embed merge call summary"


@pytest.mark.parametrize(
    ("lost", "change", "expected"),
    [
        (["work/soil/prepared/proteins.tsv", "soil/contigs.tsv"], {}, ALL),
        (["work/soil/prepared/proteins.tsv", "work/soil/shards/0001.h5"], {}, ""),
        (["work/soil/shards/0001.h5", "work/soil/shards/0001.json"], OTHER, "call summary"),
        (["work/soil/shards/0001.h5"], {"per_residue": True}, "embed merge call summary"),
        (["work/soil/prepared/proteins.faa"], OTHER, ALL),
        (["work/soil/manifests/0001.json"], {"per_residue": True}, "embed merge call summary"),
        (["work/model.json"], OTHER, "call summary"),
        (["work/model.json"], {"token_budget": 2048}, f"fetch_model token_budget {ALL}"),
        (["work/token_budget.json"], {"per_residue": True}, f"token_budget {ALL}"),
    ],
    ids=str,
)
def test_what_is_lost_and_what_changed_at_once(
    one: Project, tmp_path: Path, lost: list[str], change: dict[str, Any], expected: str
) -> None:
    """All runs that is needed, and what follows it; nothing runs whose result is there and right."""
    project = one.copy(tmp_path)
    project.add_classifier("other", seed=1)
    project.config |= {"classifier": "tiny.safetensors"} | change
    for name in lost:
        (project.results / name).unlink()
    assert project.planned() == Counter(expected.split())
