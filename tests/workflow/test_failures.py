"""Blows that really fall: after each the same command completes, makes again only what was lost, and changes no bit."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import oracle
from tests.workflow.project import ENVIRONMENT, Project, contigs


def make(folder: Path, **settings: object) -> Project:
    """Return a project whose embedding takes some seconds a shard."""
    project = Project(folder)
    oracle.save_as_fair_esm(oracle.random_model(4, 128, 4), folder / "tiny.pt")
    project.config |= {"shard_tokens": 12_000} | settings
    project.add("soil", contigs(1, 14))
    return project


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make(tmp_path_factory.mktemp("undisturbed"))
    done = project.run()
    assert done.returncode == 0, done.stderr
    assert len(list((project.results / "soil" / "shards").glob("*.h5"))) == 2, "two shards"
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make(tmp_path)


def embeddings(project: Project) -> bytes:
    return (project.results / "soil" / "embeddings.h5").read_bytes()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def written(project: Project) -> set[str]:
    """Return the shards whose embeddings are in their place."""
    return {path.stem for path in (project.results / "soil" / "shards").glob("[0-9]*.h5")}


def being_written(project: Project) -> set[str]:
    """Return the shards whose embeddings are half written: they grow in folders of their own beside their place."""
    return {path.stem for path in (project.results / "soil" / "shards").glob(".*.h5.*/*.h5")}


def wait_for_mid_write(project: Project) -> tuple[str, str]:
    """Wait until one shard is done and the other half written, and return the two."""
    wait_for(lambda: written(project) and being_written(project) - written(project))
    (done,), (half,) = written(project), being_written(project)
    return done, half


def embed_processes(project: Project, shard: str) -> list[int]:
    """Return the ids of the processes that embed a shard of this project, and of no other that runs beside it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have just ended
            command = (entry / "cmdline").read_bytes().split(b"\0")
            here = (entry / "cwd").readlink() == project.folder
            if here and b"embed" in command and f"out/soil/manifests/{shard}.json".encode() in command:
                found.append(int(entry.name))
    return found


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
    (process,) = embed_processes(project, half)
    os.kill(process, signal.SIGKILL)
    assert running.wait(60) == 1
    assert being_written(project) == {half}, "the half-written file shows that the blow struck"
    assert written(project) == {done}
    kept = [project.results / "soil" / "shards" / f"{done}.h5", *(project.results / "soil" / "manifests").iterdir()]
    check_recovered(project, undisturbed, kept)


def test_snakemake_killed(project: Project, undisturbed: Project) -> None:
    running = start(project)
    done, half = wait_for_mid_write(project)
    running.kill()
    running.wait()
    for process in embed_processes(project, half):
        os.kill(process, signal.SIGKILL)  # the machine went down
    assert being_written(project) == {half}
    refused = project.run()
    assert refused.returncode == 1
    assert "--unlock" in refused.stderr
    assert project.run("--unlock").returncode == 0
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
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", project.results], check=True)
    yield project.results
    subprocess.run(["umount", "--lazy", project.results], check=True)


def test_a_full_disk(project: Project, undisturbed: Project, small_disk: Path) -> None:
    done = project.run()
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (small_disk / "soil" / "embeddings.h5").exists()
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    check_recovered(project, undisturbed, [])


@pytest.fixture
def finished(project: Project) -> Project:
    done = project.run()
    assert done.returncode == 0, done.stderr
    return project


def test_a_corrupted_manifest(finished: Project, undisturbed: Project) -> None:
    manifest = finished.results / "soil" / "manifests" / "0002.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"length": ', '"length": 1', 1))
    kept = [finished.results / "soil" / "shards" / "0001.h5", finished.results / "soil" / "manifests" / "0001.json"]
    check_recovered(finished, undisturbed, kept)
    assert manifest.read_text() == text


def test_a_missing_manifest(finished: Project, undisturbed: Project) -> None:
    manifest = finished.results / "soil" / "manifests" / "0001.json"
    text = manifest.read_text()
    manifest.unlink()
    check_recovered(finished, undisturbed, [finished.results / "soil" / "shards" / "0002.h5"])
    assert manifest.read_text() == text


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
    assert other.run().returncode == 0
    shard = finished.results / "soil" / "shards" / "0002.h5"
    shard.write_bytes((other.results / "soil" / "shards" / "0002.h5").read_bytes())
    (finished.results / "soil" / "embeddings.h5").unlink()
    check_recovered(finished, undisturbed, [finished.results / "soil" / "shards" / "0001.h5"])


def test_contigs_changed_under_the_same_name(finished: Project, undisturbed: Project) -> None:
    finished.add("soil", contigs(2, 3))
    assert finished.run().returncode == 0
    assert embeddings(finished) != embeddings(undisturbed)
    assert len(list((finished.results / "soil" / "shards").glob("*.h5"))) == 1, "stale shards are gone"
    finished.add("soil", contigs(1, 14))
    check_recovered(finished, undisturbed, [])
