"""A killed embed job loses only the bin that it was embedding, and the next one changes no bit."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import oracle
from tests.workflow.project import ENVIRONMENT, Project, contigs, wait_for

SHARD = "out/work/soil/shards/0001.h5"
KEPT = "tokens are kept from an interrupted job"


def make(folder: Path, seed: int = 0) -> Project:
    """Return a project with one shard of some hundred bins, which take some seconds."""
    folder.mkdir(exist_ok=True)
    project = Project(folder)
    oracle.save_as_fair_esm(oracle.random_model(12, 128, 4, seed=seed), folder / "tiny.pt")
    project.config |= {"shard_tokens": 1_000_000, "token_budget": 256}
    project.add("soil", contigs(1, 120))
    return project


def kill_amid(project: Project) -> None:
    """Run a project until some bins of its shard are done, and kill the job."""
    project.write()
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    running = subprocess.Popen(project.command("--", SHARD), env=ENVIRONMENT, text=True, **pipes)
    path = project.folder / f"{SHARD}.unfinished"
    wait_for(lambda: running.poll() is not None or (path.exists() and any(path.read_bytes()[40 * 5 : 40 * 6])))
    for process in project.embed_processes("0001"):
        os.kill(process, signal.SIGKILL)
    said = running.communicate(timeout=120)[1]
    assert running.returncode == 1, "it was done before it was killed"
    assert path.exists(), said
    assert not (project.folder / SHARD).exists()


def finish(project: Project) -> tuple[bytes, str]:
    """Embed the shard to its end, and return its file and the log."""
    project.complete("--", SHARD)
    assert not list(project.results.rglob("*.unfinished"))
    log = project.work / "logs" / "soil" / "embed_0001.log"
    return (project.folder / SHARD).read_bytes(), log.read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return finish(make(tmp_path_factory.mktemp("undisturbed")))[0]


def test_finished_bins_are_kept_and_torn_ones_are_embedded_again(undisturbed: bytes, tmp_path: Path) -> None:
    project = make(tmp_path)
    kill_amid(project)
    path = project.folder / f"{SHARD}.unfinished"
    content = path.read_bytes()
    torn = next(place for place in range(len(content) // 2, len(content)) if not any(content[place : place + 4096]))
    path.write_bytes(content[: torn - 2048] + bytes(len(content) - torn + 2048))  # as after a power failure
    found, log = finish(project)
    assert KEPT in log
    assert found == undisturbed


def test_bins_of_other_weights_are_not_used(undisturbed: bytes, tmp_path: Path) -> None:
    project = make(tmp_path / "other", seed=1)
    kill_amid(project)
    make(project.folder)
    found, log = finish(project)
    assert KEPT not in log
    assert found == undisturbed
