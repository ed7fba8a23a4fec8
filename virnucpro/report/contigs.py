"""Collect what the page of a run says of all contigs: counts by sample, and the rows of its table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from virnucpro.calling import CALLS, LENGTHS
from virnucpro.calling.calls import NOT_CLEAR
from virnucpro.calling.result_files import CELLULAR, NAME_COLUMNS, REGION_COLUMNS
from virnucpro.data.records import read_contigs as read_fasta
from virnucpro.data.tables import read_table
from virnucpro.proteins.table import spans_of

MOST_ROWS = 100_000  # contigs in the page's table; contigs with a provirus are added
MOST_BASES = 10_000_000  # of sequences in the page
VIRAL_COLUMNS = ["sample", *REGION_COLUMNS, *NAME_COLUMNS]  # of viral.tsv
NAMES = ["topology", "terminal_repeat", *NAME_COLUMNS]


def read_contigs(path: Path) -> pd.DataFrame:
    """Return the rows of a contigs.tsv, with `judged`, whether the log-odds of the contig decide its call."""
    numbers = ["log_odds", "posterior", "fdr"]  # empty where they are not known, as the score and the genetic code
    contigs = read_table(path, "contig", "call", "reason", "score", "genetic_code", *NAMES, *numbers)
    contigs = contigs.replace(dict.fromkeys(numbers, ""), np.nan).astype(dict.fromkeys(numbers, np.float64))
    return contigs.assign(judged=contigs["fdr"].notna() | contigs["reason"].isin(["", NOT_CLEAR]))


def count_calls(contigs: pd.DataFrame) -> dict[str, Any]:
    """Return counts of the rows of `read_contigs`.

    Keys: `contigs` and `bases`, of all and of each call; each of `LENGTHS`, and `untested` for contigs that are shorter
    than all of these; `n50` and `longest` of the viral ones; `proviruses`; `expected_false`, the expected number of
    false viral calls.
    """
    counts: dict[str, Any] = {"contigs": len(contigs), "bases": int(contigs["length"].sum())}
    for call in CALLS:
        lengths = contigs.loc[contigs["call"] == call, "length"]
        counts |= {call: len(lengths), f"{call}_bases": int(lengths.sum())}
    classes = np.searchsorted(list(LENGTHS.values()), contigs["length"].to_numpy(), side="right")
    counts |= zip(["untested", *LENGTHS], np.bincount(classes, minlength=len(LENGTHS) + 1).tolist(), strict=True)
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
    """Return the rows of the likeliest viruses, and of all contigs that hold a provirus, the likeliest first.

    Contigs of a sample are sorted by log-odds. Contigs that were not judged come last.
    """
    ordered = contigs.sort_values(["judged", "posterior", "log_odds"], ascending=False, kind="stable")
    return ordered[(np.arange(len(ordered)) < count) | (ordered["proviruses"] > 0)].reset_index(drop=True)


def read_regions(path: Path, sample: str) -> pd.DataFrame:
    """Return the rows of a regions.tsv as viral.tsv has them."""
    regions = read_table(path, *VIRAL_COLUMNS[1:])
    return regions.assign(sample=sample, name=f"{sample}|" + regions["name"].astype(str))[VIRAL_COLUMNS]


def read_sequences(path: Path) -> dict[str, str]:
    """Return the sequences of a viral.fasta.gz by their names, nothing if they have more than `MOST_BASES`."""
    sequences, total = {}, 0
    for record in read_fasta(path):
        total += len(record.letters)
        if total > MOST_BASES:
            return {}
        sequences[record.name.decode()] = record.letters.decode()
    return sequences


def page_columns(output_dir: Path, shown: pd.DataFrame, samples: Sequence[str]) -> dict[str, Any]:
    """Return the columns of contigs in the page's table, as its scripts know them.

    `shown` has the `sample` of each contig. Its column `unjudged` numbers the reason why a contig was not judged.
    """
    functions = pd.Series("", shown.index)
    for sample, rows in shown.groupby("sample"):
        of_sample = read_functions(output_dir / str(sample) / "genes.tsv", rows["contig"].tolist())
        functions.update(pd.Series(of_sample, rows.index))
    return {
        "sample": pd.Index(samples).get_indexer(pd.Index(shown["sample"])).tolist(),
        "id": shown["contig"].tolist(),
        "length": shown["length"].tolist(),
        "logOdds": [None if value != value else value for value in shown["log_odds"].tolist()],
        "genes": shown["genes"].tolist(),
        "proviruses": shown["proviruses"].tolist(),
        "code": shown["genetic_code"].tolist(),
        "unjudged": shown["unjudged"].tolist(),
        "names": shown[NAMES].assign(functions=functions).to_dict("list"),
    }


def read_functions(genes: Path, names: Sequence[str]) -> list[str]:
    """Return the viral functions among the genes of each contig, each function once.

    `genes` is genes.tsv, with the genes of a contig in neighboring rows.
    """
    table = read_table(genes, "contig", "function")
    spans, functions = spans_of(table["contig"]), table["function"].tolist()
    of_contigs = (dict.fromkeys(functions[slice(*spans.get(name, (0, 0)))]) for name in names)
    return [", ".join(one for one in found if one not in ("", CELLULAR)) for found in of_contigs]
