"""Projects whose Snakemake and stages start at once."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.forks import running_server


@pytest.fixture(scope="session")
def forks() -> Iterator[dict[str, str]]:
    """The environment of commands that are forks of a process that has loaded all they need."""
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as environment:
        yield environment
