"""Run the command line, by `python -m virnucpro` or by this file's path."""

import importlib.util
import sys
from pathlib import Path

if not __package__:
    here = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "virnucpro", here / "__init__.py", submodule_search_locations=[str(here)]
    )
    assert spec and spec.loader  # noqa: S101 (for the type checker)
    sys.modules["virnucpro"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)

from virnucpro.cli import main

main(prog_name="virnucpro")
