"""Tab-separated tables with a header line and nothing quoted: an id may hold a quote."""

import csv
import os
from pathlib import Path

import pandas as pd

from virnucpro.data.files import atomic_path


def read_table(path: str | os.PathLike[str], *text_columns: str) -> pd.DataFrame:
    """Read a table; the columns named are text, and NA is a name like any other."""
    types = dict.fromkeys(text_columns, str)
    return pd.read_csv(path, sep="\t", dtype=types, keep_default_na=False, quoting=csv.QUOTE_NONE)


def append_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Add a table's rows to a file, after the header line where there is none yet."""
    table.to_csv(path, sep="\t", index=False, quoting=csv.QUOTE_NONE, mode="a", header=not Path(path).exists())


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table atomically."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, quoting=csv.QUOTE_NONE)
