"""summary: what a run made, what it left out, and a picture of the packing."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from virnucpro.data.files import atomic_path, write_text

logger = logging.getLogger(__name__)


def summary(output_dir: Path, samples: Sequence[str]) -> None:
    """Write tables of a run: summary.tsv, a row a sample; left_out.tsv, every contig without embedding and why; and
    summary.txt, a few lines for the terminal.

    Args:
        output_dir: the run's folder, with a folder for each sample.
        samples: their names, in the order of the rows.
    """
    rows, left_out = [], []
    for sample in samples:
        contigs = _read_table(output_dir / sample / "prepared" / "contigs.tsv", {"contig": str})
        rows.append({"sample": sample} | _count(output_dir / sample, contigs))
        without = contigs[contigs["frames"] == 0]
        left_out.append(pd.DataFrame({"sample": sample, "contig": without["contig"], "reason": _reasons(without)}))
    table = pd.DataFrame(rows)
    missed = pd.concat(left_out)
    _write_table(table, output_dir / "summary.tsv")
    _write_table(missed, output_dir / "left_out.tsv")
    text = _describe(table, missed, output_dir)
    write_text(output_dir / "summary.txt", text)


def _count(folder: Path, contigs: pd.DataFrame) -> dict[str, int | float]:
    shards = _read_table(folder / "shards.tsv", {"shard": str})
    runs = [json.loads((folder / "shards" / f"{shard}.json").read_text()) for shard in shards["shard"]]
    seconds = sum(run["seconds"] for run in runs)
    tokens, bins = int(shards["tokens"].sum()), int(shards["bins"].sum())
    room = int((shards["bins"] * shards["token_budget"]).sum())
    duplicates = len(_read_table(folder / "duplicates.tsv", {"id": str, "same_as": str}))
    return {
        "contigs": len(contigs),
        "bases": int(contigs["length"].sum()),
        "chunks": int(contigs["chunks"].sum()),
        "frames": int(contigs["frames"].sum()),
        "contigs_left_out": int((contigs["frames"] == 0).sum()),
        "dropped_codons": int(contigs["dropped_codons"].sum()),
        "duplicates": duplicates,
        "truncated": int(shards["truncated"].sum()),
        "shards": len(shards),
        "bins": bins,
        "tokens": tokens,
        "packing_efficiency": round(tokens / room, 4) if room else 0.0,
        "tokens_per_second": round(tokens / seconds, 1) if seconds else 0.0,
    }


def _reasons(contigs: pd.DataFrame) -> "pd.Series[str]":
    reasons = pd.Series("no open frame in any of its chunks", index=contigs.index)
    reasons[contigs["length"] < 3] = "shorter than a codon"
    reasons[contigs["length"] == 0] = "empty record"
    return reasons


def _describe(table: pd.DataFrame, missed: pd.DataFrame, output_dir: Path) -> str:
    total = table.sum(numeric_only=True)
    seconds = (table["tokens"] / table["tokens_per_second"].where(table["tokens_per_second"] > 0)).sum()
    room = (table["tokens"] / table["packing_efficiency"].where(table["packing_efficiency"] > 0)).sum()
    lines = [
        f"{len(table)} samples, {total['contigs']:,.0f} contigs of {total['bases']:,.0f} bp: "
        f"{total['chunks']:,.0f} chunks, {total['frames']:,.0f} open frames "
        f"({total['duplicates']:,.0f} duplicates, {total['truncated']:,.0f} truncated)",
        f"packed into {total['bins']:,.0f} bins, {total['tokens'] / room if room else 0:.1%} full; "
        f"embedded {total['tokens']:,.0f} tokens at {total['tokens'] / seconds if seconds else 0:,.0f} tokens/s",
        f"left out: {len(missed):,} contigs"
        + "".join(f"; {count:,} {reason}" for reason, count in missed["reason"].value_counts().items()),
        *(f"{output_dir}/{sample}/embeddings.h5" for sample in table["sample"].head(10)),
        *([f"... and {len(table) - 10} samples more"] if len(table) > 10 else []),
        f"tables: {output_dir}/summary.tsv, {output_dir}/left_out.tsv",
    ]
    return "\n".join(lines) + "\n"


def _read_table(path: Path, text_columns: dict[str, type[str]]) -> pd.DataFrame:
    # keep_default_na: a contig may well be called NA.
    return pd.read_csv(path, sep="\t", dtype=text_columns, keep_default_na=False)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False)
