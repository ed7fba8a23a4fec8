"""Examples in docstrings give what they say."""

import doctest
import importlib

import pytest

from tests.conftest import ROOT

FILES = [path for path in (ROOT / "virnucpro").rglob("*.py") if ">>>" in path.read_text()]  # no other is loaded
MODULES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES)


@pytest.mark.parametrize("module", MODULES)
def test_examples(module: str) -> None:
    failed, attempted = doctest.testmod(importlib.import_module(module))
    assert (failed, attempted > 0) == (0, True)
