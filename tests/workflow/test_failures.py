"""Blows that really fall: after each the same command completes, makes again only what was lost, and changes no bit."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests import oracle
from tests.workflow.project import ENVIRONMENT, Project, contigs, wait_for
from virnucpro.data.fasta import BEGINNING


def make(folder: Path, **settings: object) -> Project:
    """Return a project whose embedding takes some seconds a shard."""
    project = Project(folder)
    oracle.save_as_fair_esm(oracle.random_model(12, 128, 4), folder / "tiny.pt")
    project.config |= {"shard_tokens": 1000} | settings
    project.add("soil", contigs(1, 14))
    return project


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make(tmp_path_factory.mktemp("undisturbed"))
    project.complete()
    assert len(project.names_of_shards("soil")) == 2
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make(tmp_path)


def embeddings(project: Project) -> bytes:
    return (project.results / "soil" / "embeddings.h5").read_bytes()


def written(project: Project) -> set[str]:
    """Return the shards whose embeddings are in their place."""
    return {path.stem for path in (project.work / "soil" / "shards").glob("[0-9]*.h5")}


def being_written(project: Project) -> set[str]:
    """Return the shards whose embeddings are half written, in folders beside their place and no longer empty."""
    growing = list((project.work / "soil" / "shards").glob(".*.h5.*/*.h5"))
    with suppress(FileNotFoundError):
        return {path.stem for path in growing if path.stat().st_size}
    return set()


def wait_for_mid_write(project: Project) -> tuple[str, str]:
    """Wait until one shard is done and the other half written, and return the two."""
    wait_for(lambda: written(project) and being_written(project) - written(project))
    (done,), (half,) = written(project), being_written(project)
    return done, half


def start(project: Project) -> subprocess.Popen[str]:
    project.write()
    return subprocess.Popen(
        project.command(), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def check_recovered(project: Project, undisturbed: Project, kept: list[Path]) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    done = project.run()
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps, "what was not lost was made again"
    assert embeddings(project) == embeddings(undisturbed)
    assert not list(project.results.rglob(".*.h5.*")), "a killed writer's leftovers are still there"


def test_an_embed_job_killed_in_mid_write(project: Project, undisturbed: Project) -> None:
    running = start(project)
    done, half = wait_for_mid_write(project)
    (process,) = project.embed_processes(half)
    os.kill(process, signal.SIGKILL)
    assert running.wait(600) == 1
    assert being_written(project) == {half}, "the half-written file shows that the blow struck"
    assert written(project) == {done}
    kept = [project.work / "soil" / "shards" / f"{done}.h5", *(project.work / "soil" / "manifests").iterdir()]
    check_recovered(project, undisturbed, kept)


@pytest.mark.parametrize("machine", ["down", "up"])
def test_snakemake_killed(project: Project, undisturbed: Project, machine: str) -> None:
    """Its job dies with the machine, or lives on and writes what the next run writes too."""
    running = start(project)
    done, half = wait_for_mid_write(project)
    running.kill()
    running.wait()
    for process in project.embed_processes(half):
        os.kill(process, signal.SIGKILL if machine == "down" else signal.SIGSTOP)
    assert being_written(project) == {half}
    refused = project.run()
    assert refused.returncode == 1
    assert "--unlock" in refused.stderr
    assert project.run("--unlock").returncode == 0
    for process in project.embed_processes(half):
        os.kill(process, signal.SIGCONT)
    check_recovered(project, undisturbed, [project.work / "soil" / "shards" / f"{done}.h5"])


def test_two_runs_in_one_folder(project: Project, undisturbed: Project) -> None:
    running = start(project)
    wait_for(lambda: being_written(project))
    second = project.run()
    assert second.returncode == 1
    assert "cannot be locked" in second.stderr
    (project.folder / "elsewhere").mkdir()
    elsewhere = Project(project.folder / "elsewhere")
    elsewhere.config |= {"outdir": str(project.results), "call": False}
    elsewhere.add("gut", contigs(1))
    third = elsewhere.run("--", str(project.results / "gut" / "embeddings.h5"))
    assert third.returncode == 1
    assert "virnucpro: error" in third.stderr
    assert running.wait(600) == 0
    assert embeddings(project) == embeddings(undisturbed)


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    project.results.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", project.results], check=True)
    yield project.results
    subprocess.run(["umount", "--lazy", project.results], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte of a file system free."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_disk_that_fills_in_mid_write(project: Project, undisturbed: Project, small_disk: Path) -> None:
    running = start(project)
    done, half = wait_for_mid_write(project)
    filler = fill(small_disk)
    assert being_written(project) == {half}, "the disk filled while the shard was written"
    assert shutil.disk_usage(small_disk).free == 0
    assert running.wait(600) == 1
    assert running.stderr is not None
    warned = running.stderr.read()
    assert re.search(rf"virnucpro embed: error: \S+{half}\S*: No space left on device; free space, then", warned)
    assert "Traceback" not in warned and "Segmentation fault" not in warned, "HDF5 saw nothing of it"
    assert (written(project), being_written(project)) == ({done}, set())
    filler.unlink()
    kept = [project.work / "soil" / "shards" / f"{done}.h5", *(project.work / "soil" / "manifests").iterdir()]
    check_recovered(project, undisturbed, kept)


def test_a_disk_with_too_little_room(project: Project, undisturbed: Project, small_disk: Path) -> None:
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - 40_000)
    refused = project.run()
    assert refused.returncode == 1
    named = r"virnucpro prepare: error: sample soil: \S+/prepared/\S+: No space left on device; free space"
    assert re.search(named, refused.stderr)
    assert "Traceback" not in refused.stderr
    assert not list(small_disk.rglob("prepared/*"))
    filler.unlink()
    check_recovered(project, undisturbed, [])


@pytest.fixture
def finished(undisturbed: Project, tmp_path: Path) -> Project:
    return undisturbed.copy(tmp_path)


def test_a_shard_that_is_truncated_or_of_another_model_is_refused(
    finished: Project, undisturbed: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make(tmp_path_factory.mktemp("other"))
    oracle.save_as_fair_esm(oracle.random_model(4, 128, 4, seed=1), other.folder / "tiny.pt")
    other.complete()
    shard = finished.work / "soil" / "shards" / "0002.h5"
    for damaged in (shard.read_bytes()[:9999], (other.work / "soil" / "shards" / "0002.h5").read_bytes()):
        shard.write_bytes(damaged)
        (finished.results / "soil" / "embeddings.h5").unlink(missing_ok=True)
        refused = finished.run()
        assert refused.returncode == 1
        message = "out/work/soil/shards/0002.h5: not what embed wrote: damaged or replaced; close it"
        assert f"virnucpro merge: error: {message}" in refused.stderr
    shard.unlink()
    check_recovered(finished, undisturbed, [finished.work / "soil" / "shards" / "0001.h5"])


def test_contigs_changed_under_the_same_name(finished: Project, undisturbed: Project) -> None:
    finished.add("soil", contigs(2, 3))
    finished.complete()
    assert embeddings(finished) != embeddings(undisturbed)
    assert len(finished.names_of_shards("soil")) == 1, "stale shards are gone"
    finished.add("soil", contigs(1, 14))
    check_recovered(finished, undisturbed, [])


def test_a_bin_that_runs_out_of_memory(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add_large_bins("soil")
    assert project.run().returncode == 0
    with h5py.File(project.results / "soil" / "embeddings.h5") as file:
        whole = file["embedding"][:]
    (project.results / "soil" / "embeddings.h5").unlink()
    (project.work / "soil" / "shards" / "0001.h5").unlink()
    running = start(project)
    project.starve("soil", "0001")
    said = running.communicate(timeout=600)[1]
    assert running.returncode == 0, said
    assert "does not fit the memory of cpu: bins are split" in said
    with h5py.File(project.results / "soil" / "embeddings.h5") as file:
        np.testing.assert_allclose(file["embedding"][:], whole, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    project = Project(tmp_path_factory.mktemp("called"), forks)
    project.add_classifier()
    project.config["shard_tokens"] = 100_000
    project.add("soil", contigs(1, 2))
    project.complete()
    return project


def summarized(project: Project) -> list[str]:
    return pd.read_csv(project.results / "summary.tsv", sep="\t")["sample"].tolist()


@pytest.mark.parametrize("cure", ["repaired", "removed"])
def test_a_bad_sample_costs_its_own_results_only(called: Project, tmp_path: Path, cure: str) -> None:
    project = called.copy(tmp_path)
    project.add("bad", f">a\n{'ACGT' * BEGINNING}\n>a\nACGT\n")  # at the beginning it would stop the start
    project.add("gut", contigs(2, 2))
    reason = "bad: prepare: bad.fa: line 3: two records are named a; make ids unique"
    for _ in range(2):
        done = project.run("--keep-going")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert summarized(project) == ["soil", "gut"]
        assert f"failed:       {reason}\n" in (project.results / "summary.txt").read_text()
        page = (project.results / "report.html").read_text()
        assert "Not finished: bad (prepare): bad.fa: line 3: two records are named a" in page
        assert (project.results / "gut" / "contigs.tsv").exists()
    if cure == "repaired":
        project.add("bad", contigs(3, 2))
        expected = ["soil", "bad", "gut"]
    else:
        del project.samples["bad"]
        expected = ["soil", "gut"]
    ran = project.complete("--keep-going")
    assert (ran["summary"], ran["call"]) == (1, cure == "repaired")
    assert summarized(project) == expected
    assert "failed" not in (project.results / "summary.txt").read_text()
    assert "Not finished" not in (project.results / "report.html").read_text()
    assert project.planned() == {}


@pytest.mark.parametrize("name", ["summary.tsv", "gut/viral.fasta.gz", "gut/embeddings.h5", "work/gut", "training"])
def test_a_file_in_the_way_is_refused_before_anything_runs(called: Project, tmp_path: Path, name: str) -> None:
    project = called.copy(tmp_path)
    project.add("gut", contigs(2, 2))
    if name in ("summary.tsv", "training"):
        shutil.rmtree(project.results)
        shutil.rmtree(project.folder / ".snakemake")
    theirs = project.results / name
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("of somebody else")
    before = project.stamps(".")
    for arguments in (["-n"], [], ["-n"]):
        if name == "training":
            continue  # no result of this run
        done = project.run(*arguments)
        assert done.returncode == 1
        assert f"virnucpro: error: out/{name} would be overwritten" in done.stderr
        assert "Traceback" not in done.stderr
        assert project.stamps(".") == before
        assert theirs.read_text() == "of somebody else"
    if name != "training":
        theirs.unlink()
    assert project.complete()["summary"] == 1


def test_what_was_only_planned_claims_nothing(called: Project, tmp_path: Path) -> None:
    """A dry run claims nothing, so a later run does not take the results of another for its own."""
    (tmp_path / "other").mkdir()
    project, other = called.copy(tmp_path / "first"), Project(tmp_path / "other", called.environment)
    shutil.rmtree(project.results)
    shutil.rmtree(project.folder / ".snakemake")
    other.add("soil", contigs(9, 2))
    other.config |= {"outdir": str(project.results)}
    assert other.planned().total() > 0
    project.complete()
    done = other.run()
    assert done.returncode == 1
    assert "would be overwritten" in done.stderr
    assert project.planned() == {}


def test_all_that_is_declared_can_be_deleted(called: Project, tmp_path: Path) -> None:
    project = called.copy(tmp_path)
    (project.results / "soil" / "notes.txt").write_text("of the user")
    done = project.run("--delete-all-output")
    assert done.returncode == 0, done.stderr
    left = [path.relative_to(project.results) for path in project.results.rglob("*") if path.is_file()]
    assert {str(path) for path in left if path.parts[:2] != ("work", "logs")} == {"work/run.lock", "soil/notes.txt"}
    assert project.complete()["call"] == 1
    assert (project.results / "soil" / "contigs.tsv").read_bytes() == (
        called.results / "soil" / "contigs.tsv"
    ).read_bytes()
