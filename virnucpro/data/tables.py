"""Tab-separated tables with a header line. Nothing is quoted: an id may hold a quote."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from virnucpro.data.files import atomic_path


def read_table(path: str | os.PathLike[str], *text_columns: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table, or only some of its columns; the named columns are text, and NA is text like any other."""
    types = dict.fromkeys(text_columns, str)
    rules: dict[str, Any] = {"keep_default_na": False, "quoting": csv.QUOTE_NONE, "usecols": list(columns) or None}
    table: pd.DataFrame = pd.read_csv(path, sep="\t", dtype=types, **rules)
    return table[list(columns)] if columns else table


def append_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Append a table's rows to a file; a new file gets the header line first."""
    table.to_csv(path, sep="\t", index=False, quoting=csv.QUOTE_NONE, mode="a", header=not Path(path).exists())


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table atomically."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, quoting=csv.QUOTE_NONE)
