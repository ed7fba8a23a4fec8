"""What the page of a run says of all contigs: counts by sample, and the rows of its table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from virnucpro.calling import CALLS
from virnucpro.calling.calls import NOT_CLEAR
from virnucpro.calling.result_files import CELLULAR, NAME_COLUMNS
from virnucpro.data.tables import read_table
from virnucpro.proteins.table import spans_of

MOST_ROWS = 50_000  # of the page's table
MOST_BARS = 24  # of the small picture of a contig's genes
NAMES = ["topology", "terminal_repeat", *NAME_COLUMNS]


def read_contigs(path: Path) -> pd.DataFrame:
    """Return the rows of a contigs.tsv, with `judged`, whether the log-odds of the contig decide its call."""
    numbers = ["log_odds", "posterior", "fdr"]  # empty where they are not known, as the score and the genetic code
    contigs = read_table(path, "contig", "call", "reason", "score", "genetic_code", *NAMES, *numbers)
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


def page_columns(output_dir: Path, shown: pd.DataFrame, samples: Sequence[str]) -> dict[str, Any]:
    """Return the columns of the page's table, as its scripts know them.

    `shown` has the `sample` of each contig, and `unjudged`, the number of the reason of those that were not judged.
    """
    of_genes = pd.DataFrame("", shown.index, ["bars", "functions"])
    for sample, rows in shown.groupby("sample"):
        described = describe_genes(output_dir / str(sample) / "genes.tsv", rows["contig"].tolist())
        of_genes.loc[rows.index] = list(described)
    return {
        "sample": pd.Index(samples).get_indexer(pd.Index(shown["sample"])).tolist(),
        "id": shown["contig"].tolist(),
        "length": shown["length"].tolist(),
        "logOdds": [None if value != value else value for value in shown["log_odds"].tolist()],
        "genes": shown["genes"].tolist(),
        "proviruses": shown["proviruses"].tolist(),
        "code": shown["genetic_code"].tolist(),
        "unjudged": shown["unjudged"].tolist(),
        "bars": of_genes["bars"].tolist(),
        "names": shown[NAMES].assign(functions=of_genes["functions"]).to_dict("list"),
    }


def describe_genes(genes: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield two texts on the genes of each contig: their scores, and the viral functions among them, each once.

    The scores are a digit from 0 to 9 a gene, or a mean over some where there are many. `genes` is genes.tsv, with the
    genes of a contig in neighboring rows.
    """
    table = read_table(genes, "contig", "function")
    spans = spans_of(table["contig"])
    scores, functions = table["score"].to_numpy(np.float64), table["function"].tolist()
    for name in names:
        begin, end = spans.get(name, (0, 0))
        parts = np.array_split(scores[begin:end], min(end - begin, MOST_BARS) or 1)
        named = [one for one in dict.fromkeys(functions[begin:end]) if one not in ("", CELLULAR)]
        yield "".join(str(min(9, int(10 * part.mean()))) for part in parts if len(part)), ", ".join(named)
