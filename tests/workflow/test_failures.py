"""Blows that really fall: after each the same command completes, makes again only what was lost, and changes no bit."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests import oracle
from tests.workflow.project import ENVIRONMENT, Project, contigs, wait_for


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
    return {path.stem for path in (project.results / "soil" / "shards").glob("[0-9]*.h5")}


def being_written(project: Project) -> set[str]:
    """Return the shards whose embeddings are half written, in folders beside their place and no longer empty."""
    growing = list((project.results / "soil" / "shards").glob(".*.h5.*/*.h5"))
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
    assert running.wait(60) == 1
    assert being_written(project) == {half}, "the half-written file shows that the blow struck"
    assert written(project) == {done}
    kept = [project.results / "soil" / "shards" / f"{done}.h5", *(project.results / "soil" / "manifests").iterdir()]
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
    check_recovered(project, undisturbed, [project.results / "soil" / "shards" / f"{done}.h5"])


def test_two_runs_in_one_folder(project: Project, undisturbed: Project) -> None:
    running = start(project)
    wait_for(lambda: being_written(project))
    second = project.run()
    assert second.returncode == 1
    assert "cannot be locked" in second.stderr
    assert running.wait(120) == 0
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
    assert running.wait(120) == 1
    assert running.stderr is not None
    warned = running.stderr.read()
    assert "virnucpro embed: error: [Errno 28] No space left on device" in warned
    assert "Traceback" not in warned and "Segmentation fault" not in warned, "HDF5 saw nothing of it"
    assert (written(project), being_written(project)) == ({done}, set())
    filler.unlink()
    kept = [small_disk / "soil" / "shards" / f"{done}.h5", *(small_disk / "soil" / "manifests").iterdir()]
    check_recovered(project, undisturbed, kept)


def test_a_disk_with_too_little_room(project: Project, undisturbed: Project, small_disk: Path) -> None:
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - 40_000)
    refused = project.run()
    assert refused.returncode == 1
    assert "virnucpro prepare: error: sample soil: [Errno 28] No space left on device" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(small_disk.rglob("prepared/*"))
    filler.unlink()
    check_recovered(project, undisturbed, [])


@pytest.fixture
def finished(undisturbed: Project, tmp_path: Path) -> Project:
    return undisturbed.copy(tmp_path)


def test_a_truncated_shard(finished: Project, undisturbed: Project) -> None:
    shard = finished.results / "soil" / "shards" / "0002.h5"
    os.truncate(shard, shard.stat().st_size // 2)
    (finished.results / "soil" / "embeddings.h5").unlink()
    check_recovered(finished, undisturbed, [finished.results / "soil" / "shards" / "0001.h5"])


def test_embeddings_of_another_model(
    finished: Project, undisturbed: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make(tmp_path_factory.mktemp("other"))
    oracle.save_as_fair_esm(oracle.random_model(4, 128, 4, seed=1), other.folder / "tiny.pt")
    other.complete()
    shard = finished.results / "soil" / "shards" / "0002.h5"
    shard.write_bytes((other.results / "soil" / "shards" / "0002.h5").read_bytes())
    (finished.results / "soil" / "embeddings.h5").unlink()
    check_recovered(finished, undisturbed, [finished.results / "soil" / "shards" / "0001.h5"])


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
    (project.results / "soil" / "shards" / "0001.h5").unlink()
    running = start(project)
    project.starve("soil", "0001")
    said = running.communicate(timeout=120)[1]
    assert running.returncode == 0, said
    assert "does not fit the memory of cpu: bins are split" in said
    with h5py.File(project.results / "soil" / "embeddings.h5") as file:
        np.testing.assert_allclose(file["embedding"][:], whole, rtol=0, atol=1e-5)
