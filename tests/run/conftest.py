"""`virnucpro run` in a folder of its own, with a small model."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import oracle
from tests.conftest import AMINO_ACIDS, ROOT
from tests.workflow.project import wait_for

VIRNUCPRO = [sys.executable, "-m", "virnucpro"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    oracle.save_as_fair_esm(oracle.random_model(2, 32, 2), path)
    return path


class Folder:
    """A working folder, in which `virnucpro run` is typed."""

    def __init__(self, path: Path, model: Path) -> None:
        self.path = path
        self.results = path / "results"
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

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start_and_embed(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a run, and return when it embeds."""
        process = self.start(*arguments)
        wait_for(lambda: self.processes(b"embed") or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        return process

    def processes(self, *words: bytes) -> list[int]:
        """Return the ids of the processes of a run in this folder, with words on their command lines."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                here = (entry / "cwd").readlink() in (self.path, self.results)
            except OSError:  # it may have just ended
                continue
            if here and {b"-m", *words} <= set(command):
                found.append(int(entry.name))
        return found


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Iterator[Folder]:
    made = Folder(tmp_path, tiny_model)
    yield made
    for process in made.processes():
        os.kill(process, signal.SIGKILL)
