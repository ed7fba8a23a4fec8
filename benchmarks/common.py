"""Common parts of the packing benchmarks: real lengths to draw from, the machine, and the place of results."""

import csv
import os
import platform
import re
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.data.packing import SPECIAL_TOKENS

MAX_SEQUENCE_LENGTH = 1022
SEED = 20250101

_FOLDER = Path(__file__).parent
RESULTS = _FOLDER / "results"


@cache
def read_lengths(kind: str) -> npt.NDArray[np.int64]:
    """Return the residue lengths of a kind of lengths.tsv, `frame` or `protein`, int64 [sequences]."""
    with (_FOLDER / "lengths.tsv").open() as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["kind"] == kind]
    return np.repeat([int(row["length"]) for row in rows], [int(row["count"]) for row in rows])


def draw_tokens(kind: str, sequences: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw the tokens of sequences, without replacement if there are enough real ones."""
    lengths = read_lengths(kind)
    drawn = random.choice(lengths, sequences, replace=sequences > len(lengths))
    return np.minimum(drawn, MAX_SEQUENCE_LENGTH) + SPECIAL_TOKENS


def fewest_bins(tokens: npt.NDArray[np.int64], budget: int) -> int:
    """Return ceil(tokens / budget), which no packing can go below."""
    return -(-int(tokens.sum()) // budget)


def markdown(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, tuple("---:" for _ in header), *rows])


def write_result(name: str, title: str, header: tuple[str, ...], rows: list[tuple[str, ...]], note: str = "") -> None:
    """Print a Markdown table, and write it to results/NAME.md with its title, a note and the machine."""
    table = markdown(header, rows)
    print(table)
    note = f"{note}\n\n" if note else ""
    (RESULTS / f"{name}.md").write_text(f"# {title}\n\n{table}\n\n{note}Machine: {_describe_machine()}.\n")


def _describe_machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    cpu = named[1] if named else platform.machine()
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}"
