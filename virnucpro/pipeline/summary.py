"""summary: what a run made, what it left out, and a picture of the packing."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from virnucpro.data.files import atomic_path, write_text
from virnucpro.pipeline.figure import draw_packing

logger = logging.getLogger(__name__)

SHOWN = 10  # samples named on the terminal


def summary(output_dir: Path, samples: Sequence[str]) -> None:
    """Write what a run made: summary.tsv, a row a sample; left_out.tsv, every record without an embedding and why;
    packing.svg, a picture of the bins; and summary.txt, a few lines for the terminal.

    Args:
        output_dir: the run's folder, with a folder for each sample.
        samples: their names, in the order of the rows.
    """
    rows, left_out, manifests = [], [], []
    for sample in samples:
        folder = output_dir / sample
        records = _read_table(folder / "prepared" / "records.tsv", "record")
        shards = _read_table(folder / "shards.tsv", "shard")
        rows.append({"sample": sample} | _count_records(records) | _count_packing(folder, shards))
        without = records[records["proteins"] == 0]
        left_out.append(pd.DataFrame({"sample": sample, "record": without["record"], "reason": _reasons(without)}))
        manifests += [folder / "manifests" / f"{shard}.json" for shard in shards["shard"]]
    table, missed = pd.DataFrame(rows), pd.concat(left_out)
    draw_packing(manifests, output_dir / "packing.svg")
    _write_table(missed, output_dir / "left_out.tsv")
    _write_table(table, output_dir / "summary.tsv")
    write_text(output_dir / "summary.txt", _describe(table, missed, output_dir))


def _count_records(records: pd.DataFrame) -> dict[str, int]:
    return {
        "records": len(records),
        "letters": int(records["length"].sum()),
        "left_out": int((records["proteins"] == 0).sum()),
        "chunks": int(records["chunks"].sum()),
        "proteins": int(records["proteins"].sum()),
        "ambiguous": int(records["ambiguous"].sum()),
    }


def _count_packing(folder: Path, shards: pd.DataFrame) -> dict[str, int | float]:
    runs = [json.loads((folder / "shards" / f"{shard}.json").read_text()) for shard in shards["shard"]]
    seconds = sum(run["seconds"] for run in runs)
    tokens = int(shards["tokens"].sum())
    room = int((shards["bins"] * shards["token_budget"]).sum())
    return {
        "duplicates": len(_read_table(folder / "duplicates.tsv", "id", "same_as")),
        "truncated": int(shards["truncated"].sum()),
        "shards": len(shards),
        "bins": int(shards["bins"].sum()),
        "tokens": tokens,
        "packing_efficiency": round(tokens / room, 4) if room else 0.0,
        "embedding_seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else 0.0,
    }


def _reasons(records: pd.DataFrame) -> "pd.Series[str]":
    reasons = pd.Series("no open frame", index=records.index)
    reasons[records["length"] < 3] = "less than a codon"
    reasons[records["length"] == 0] = "nothing in the record"
    return reasons


def _describe(table: pd.DataFrame, missed: pd.DataFrame, output_dir: Path) -> str:
    total = table.sum(numeric_only=True)
    seconds = total["embedding_seconds"]
    packed = f"{total['tokens']:,.0f} tokens in {total['bins']:,.0f} bins"
    if total["tokens"]:
        room = (table["tokens"] / table["packing_efficiency"].where(table["tokens"] > 0)).sum()
        packed += f", {total['tokens'] / room:.1%} full; {total['tokens'] / seconds:,.0f} tokens/s"
    reasons = (f"{count:,} with {reason}" for reason, count in missed["reason"].value_counts().items())
    files = [str(output_dir / sample / "embeddings.h5") for sample in table["sample"].head(SHOWN)]
    if len(table) > SHOWN:
        files.append(f"... {len(table) - SHOWN} more samples")
    lines = {
        "samples": f"{len(table):,} ({total['records']:,.0f} records, {total['letters']:,.0f} letters)",
        "proteins": "{proteins:,.0f} ({duplicates:,.0f} duplicates, {truncated:,.0f} truncated)".format_map(total),
        "left out": "; ".join(reasons) or "nothing",
        "packed": packed,
        "embeddings": ("\n" + " " * 14).join(files),
        "more": f"{output_dir}/summary.tsv, left_out.tsv and packing.svg",
    }
    return "".join(f"{name + ':':13} {text}\n" for name, text in lines.items())


def _read_table(path: Path, *text_columns: str) -> pd.DataFrame:
    # keep_default_na: a contig may well be called NA.
    return pd.read_csv(path, sep="\t", dtype=dict.fromkeys(text_columns, str), keep_default_na=False)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False)
