"""What the page of a run says of all contigs: counts by sample, and the rows of its table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from virnucpro.calling import CALLS
from virnucpro.calling.calls import NOT_CLEAR
from virnucpro.data.tables import read_table
from virnucpro.proteins.table import spans_of

MOST_ROWS = 50_000  # of the page's table
MOST_BARS = 24  # of the small picture of a contig's genes


def read_contigs(path: Path) -> pd.DataFrame:
    """Return the rows of a contigs.tsv, with `judged`, whether the log-odds of the contig decide its call."""
    numbers = ["log_odds", "posterior", "fdr"]  # empty where they are not known, as the score and the genetic code
    contigs = read_table(path, "contig", "call", "reason", "score", "genetic_code", *numbers)
    contigs = contigs.replace(dict.fromkeys(numbers, ""), np.nan).astype(dict.fromkeys(numbers, np.float64))
    return contigs.assign(judged=contigs["fdr"].notna() | contigs["reason"].isin(["", NOT_CLEAR]))


def count_calls(contigs: pd.DataFrame) -> dict[str, Any]:
    """Return counts of the rows of `read_contigs`.

    Keys: `contigs` and `bases`, of all and of each call; `n50` and `longest` of the viral ones; `proviruses`;
    `expected_false`, the expected number of false viral calls.
    """
    counts: dict[str, Any] = {"contigs": len(contigs), "bases": int(contigs["length"].sum())}
    for call in CALLS:
        lengths = contigs.loc[contigs["call"] == call, "length"]
        counts |= {call: len(lengths), f"{call}_bases": int(lengths.sum())}
    viral = contigs[contigs["call"] == "viral"]
    proviruses, false = int(contigs["proviruses"].sum()), float((1 - viral["posterior"]).sum())
    return counts | describe_lengths(viral["length"]) | {"proviruses": proviruses, "expected_false": false}


def describe_lengths(lengths: "pd.Series[int]") -> dict[str, int]:
    """Return the longest and N50, the length such that contigs as long or longer hold half of all bases; 0 of none."""
    if lengths.empty:
        return {"n50": 0, "longest": 0}
    ordered = np.sort(lengths.to_numpy())[::-1]
    bases = np.cumsum(ordered)
    return {"n50": int(ordered[np.searchsorted(bases, bases[-1] / 2)]), "longest": int(ordered[0])}


def likeliest(contigs: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the rows of the likeliest viruses, the likeliest first; those that were not judged come last.

    Those of a sample come in the order of their log-odds.
    """
    ordered = contigs.sort_values(["judged", "posterior", "log_odds"], ascending=False, kind="stable")
    return ordered.head(count).reset_index(drop=True)


def gene_bars(genes: Path, names: Sequence[str]) -> Iterator[str]:
    """Yield the scores of the genes of contigs, a digit from 0 to 9 a gene, or a mean over some where there are many.

    `genes` is genes.tsv, with the genes of a contig in neighbouring rows.
    """
    table = read_table(genes, "contig")
    spans = spans_of(table["contig"])
    scores = table["score"].to_numpy(np.float64)
    for name in names:
        begin, end = spans.get(name, (0, 0))
        parts = np.array_split(scores[begin:end], min(end - begin, MOST_BARS) or 1)
        yield "".join(str(min(9, int(10 * part.mean()))) for part in parts if len(part))
