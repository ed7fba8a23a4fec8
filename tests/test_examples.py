"""Examples in docstrings run and give the stated output. All modules with an example are collected automatically."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import virnucpro.data
from tests.conftest import ROOT

PUBLIC = [getattr(package, name) for package in (virnucpro, virnucpro.data) for name in package.__all__]
FILES = [path for path in (ROOT / "virnucpro").rglob("*.py") if ">>>" in path.read_text()]
MODULES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES)


@pytest.mark.parametrize("module", MODULES)
def test_examples(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for the files that examples write
    failed, attempted = doctest.testmod(importlib.import_module(module))
    assert (failed, attempted > 0) == (0, True)


@pytest.mark.parametrize("function", list(filter(inspect.isfunction, PUBLIC)), ids=lambda function: function.__name__)
def test_a_public_function_has_an_example(function: object) -> None:
    assert ">>>" in (function.__doc__ or "")
