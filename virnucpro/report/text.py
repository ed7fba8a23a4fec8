"""Lines of summary.txt: sums over samples, and calls of a small run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from virnucpro.calling import CALLS, POOLED_FILES
from virnucpro.report.shares import describe_shares

SHOWN = 10  # most samples that are named
SHOWN_CONTIGS = 25  # most contigs of a run with every call shown


def describe_summary(
    table: pd.DataFrame, shares: Sequence[Mapping[str, Any]], reasons: Counter[str], output_dir: Path
) -> str:
    """Return the sums of summary.tsv, the shares of viral contigs and the reasons of left_out.tsv as lines of text."""
    total = table.sum(numeric_only=True)
    packed = "{tokens:,.0f} tokens in {bins:,.0f} bins".format_map(total)
    if total["tokens"]:
        packed += f", {total['tokens'] / total['room']:.1%} full; {total['tokens'] / total['seconds']:,.0f} tokens/s"
    shown = output_dir.resolve() if output_dir.name == ".." else output_dir  # a run from within it
    files = [str(shown / sample / "embeddings.h5") for sample in table["sample"].head(SHOWN)]
    if len(table) > SHOWN:
        files.append(f"... {len(table) - SHOWN} more samples")
    lines = {
        "samples": f"{len(table):,} ({total['records']:,.0f} records, {total['letters']:,.0f} letters)",
        "proteins": "{proteins:,.0f} ({screened:,.0f} clearly cellular and not embedded, {duplicates:,.0f} duplicates, "
        "{truncated:,.0f} truncated)".format_map(total),
        "ambiguous": "{ambiguous:,.0f} codons or residues".format_map(total),
        "left out": "; ".join(f"{count:,} with {reason}" for reason, count in reasons.most_common()) or "nothing",
        "packed": packed,
        "embeddings": ("\n" + " " * 14).join(files),
        "more": f"{shown}/summary.tsv, left_out.tsv and packing.svg",
    }
    if "viral" in table:
        counts = ", ".join(f"{total[call]:,.0f} {call}" for call in CALLS)
        counts += f", {total['proviruses']:,.0f} proviruses"
        calls = {"calls": counts, "viral": f"{shown}/{' and '.join(POOLED_FILES)}"}
        lines = calls | ({"viral share": describe_shares(shares)} if shares else {}) | lines
    return "".join(f"{name + ':':13} {text}\n" for name, text in lines.items())


def show_calls(contigs: pd.DataFrame) -> str:
    """Return a table of all calls, likeliest viruses first, or empty text for many contigs."""
    if not 0 < len(contigs) <= SHOWN_CONTIGS:
        return ""
    columns = ["sample", "contig", "length", "genes", "score", "call"]
    log_odds = pd.to_numeric(contigs["log_odds"], errors="coerce")  # empty for an empty record
    shown = contigs.assign(log_odds=log_odds).sort_values("log_odds", ascending=False, kind="stable")
    return shown[columns].to_string(index=False) + "\n\n"
