"""`virnucpro run` in a temporary folder, with a small model."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import oracle
from tests.conftest import AMINO_ACIDS, ROOT

VIRNUCPRO = [sys.executable, "-m", "virnucpro"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    oracle.save_as_fair_esm(oracle.random_model(2, 32, 2), path)
    return path


class Folder:
    """A working folder for `virnucpro run`."""

    def __init__(self, path: Path, model: Path) -> None:
        self.path = path
        self.results = path / "results"
        self.work = self.results / "work"
        self.settings = ["--model", str(model), "--token-budget", "1024", "--no-call"]
        self.environment = dict(ENVIRONMENT)

    def add_proteins(self, name: str, count: int = 30, length: int = 60) -> None:
        rng = random.Random(name)
        records = (f">p{number}\n{''.join(rng.choices(AMINO_ACIDS, k=length))}\n" for number in range(count))
        (self.path / name).write_text("".join(records))

    def command(self, *arguments: str) -> list[str]:
        return [*VIRNUCPRO, "run", *self.settings, *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            self.command(*arguments), cwd=self.path, env=self.environment, text=True, start_new_session=True, **pipes
        )

    def copy(self, path: Path) -> "Folder":
        """Copy the folder with its results, and return the copy."""
        shutil.copytree(self.path, path, dirs_exist_ok=True)
        made = Folder(path, Path(self.settings[1]))
        made.environment = self.environment.copy()
        return made

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def processes(self, *words: bytes) -> list[int]:
        """Return the ids of processes of runs in this folder that have these words on their command lines."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                here = (entry / "cwd").readlink() in (self.path, self.work)
            except OSError:  # it may have just ended
                continue
            if here and self.path != Path("/") and set(words) <= set(command):
                found.append(int(entry.name))
        return found


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Folder:
    made = Folder(tmp_path_factory.mktemp("finished"), tiny_model)
    made.add_proteins("p.faa")
    done = made.run("p.faa", "--type", "proteins")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def finished(finished_once: Folder, tmp_path: Path) -> Folder:
    """A folder with the results of p.faa."""
    return finished_once.copy(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Iterator[Folder]:
    made = Folder(tmp_path, tiny_model)
    yield made
    for process in made.processes():
        os.kill(process, signal.SIGKILL)
