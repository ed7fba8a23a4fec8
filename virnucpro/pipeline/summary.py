"""summary: counts and pooled results of a run, records that were left out, and a figure of the packing."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from virnucpro.calling import CALLS, POOLED_FILES, not_pooled
from virnucpro.calling.pooled import pool_regions
from virnucpro.data.files import atomic_path, write_text
from virnucpro.data.provenance import Provenance, begin_writing, checked_input, read_provenance, write_provenance
from virnucpro.data.tables import append_table, read_table, write_table
from virnucpro.report.multiqc import describe_for_multiqc
from virnucpro.report.packing import draw_packing
from virnucpro.report.text import SHOWN, SHOWN_CONTIGS, describe_summary, show_calls

logger = logging.getLogger(__name__)

SHARES = {"viral_share": "value", "viral_share_low": "low", "viral_share_high": "high"}  # columns: fields of a share
REASONS = ["nothing in the record", "less than a codon", "no open reading frame"]  # for 0, 1 to 2, and more bases


def summary(output_dir: Path, samples: Sequence[str], called: Sequence[str] = (), failed: Path | None = None) -> None:
    """Write the files of a whole run.

    - viral.tsv, viral.fasta.gz: Viral contigs and proviruses of all samples with calls.
    - summary.tsv: One row per sample.
    - left_out.tsv: Records without an embedding, genes of the user's files that do not fit, and the reasons.
    - packing.svg: Figure of the bins.
    - summary.txt: Text for the terminal. It names samples with calls of earlier runs, whose files are not changed.
    - virnucpro_*_mqc.tsv: Tables for MultiQC.

    Args:
        samples: Samples, in the order of the rows.
        called: Samples with calls.
        failed: Table of failed samples; with it no record is written, so that the workflow writes the summary again.
    """
    outputs = [output_dir / name for name in ("summary.tsv", "left_out.tsv", "packing.svg", "summary.txt")]
    for_multiqc = [output_dir / name for name in ("virnucpro_stats_mqc.tsv", "virnucpro_mqc.tsv")]
    work = output_dir / "work"
    record, inputs = work / "summary.json", {}
    for sample in samples:
        read = [(work / sample / "prepared" / "records.tsv", "prepare")]
        if sample in called:
            read += [(output_dir / sample / name, "call") for name in ("contigs.tsv", "regions.tsv", "viral.fasta.gz")]
        for file, stage in read:
            inputs[f"{sample}/{file.name}"] = checked_input(file, work / sample / f"{stage}.json", stage)
    pooled = [output_dir / name for name in POOLED_FILES] if called else []
    begin_writing(record, [*outputs, *for_multiqc, *pooled])
    rows: list[dict[str, Any]] = []
    manifests, sequences, calls, shares = [], 0, [], []
    reasons: Counter[str] = Counter()
    with atomic_path(output_dir / "left_out.tsv") as path:  # sample by sample, to limit the memory
        for sample in samples:
            folder = work / sample
            records = read_table(folder / "prepared" / "records.tsv", "record")
            packed, merged = (read_provenance(folder / f"{stage}.json", stage) for stage in ("pack", "merge"))
            without = records[records["proteins"] == 0]
            why = pd.cut(without["length"], [-1, 0, 2, np.inf], labels=REASONS)
            append_table(pd.DataFrame({"sample": sample, "record": without["record"], "reason": why}), path)
            append_table(_left_out_genes(sample, folder / "prepare.json"), path)
            reasons.update(why)
            rows.append({"sample": sample} | _count(records, packed, merged))
            manifests += [folder / "manifests" / f"{shard['shard']}.json" for shard in packed.details["shards"]]
            sequences += sum(shard["sequences"] for shard in packed.details["shards"])
            if sample in called:
                contigs = read_table(output_dir / sample / "contigs.tsv", "contig", "call")
                rows[-1] |= {call: int((contigs["call"] == call).sum()) for call in CALLS}
                rows[-1]["proviruses"] = int(contigs["proviruses"].sum())
                rows[-1]["viral_bases"] = int(read_table(output_dir / sample / "regions.tsv")["length"].sum())
                details = read_provenance(folder / "call.json", "call").details
                share = {} if details["is_published"] else details["share"]  # the original's classifiers do not use it
                shares += [share] if share else []
                rows[-1] |= {column: round(share[end], 4) if share else None for column, end in SHARES.items()}
                calls.append(contigs.head(SHOWN_CONTIGS + 1).assign(sample=sample))
    table = pd.DataFrame(rows)
    table["packing_efficiency"] = (table["tokens"] / table["room"]).fillna(0).round(4)
    table["tokens_per_second"] = (table["tokens"] / table["seconds"].clip(lower=0.001)).round(1)
    for count in (*CALLS, "proviruses", "viral_bases") if called else ():
        table[count] = table[count].astype("Int64")  # empty for samples that were not called
    if pooled:
        with atomic_path(pooled[0]) as viral, atomic_path(pooled[1]) as fasta:
            pool_regions(output_dir, called, viral, fasta)
        outputs += pooled
    draw_packing(manifests, output_dir / "packing.svg", sequences)
    write_table(table, output_dir / "summary.tsv")
    text = (show_calls(pd.concat(calls)) if calls else "") + describe_summary(table, shares, reasons, output_dir)
    if failed:
        for sample, *stage_and_reason in read_table(failed, "sample", "stage", "reason").to_numpy().tolist():
            text += f"{'failed:':13} {sample}: {': '.join(filter(None, stage_and_reason))}\n"
    earlier = [name for name in samples if name not in called and (work / name / "call.json").exists()]
    if earlier:
        text += f"{'calls:':13} those of {', '.join(earlier[:SHOWN])}{_and_more(earlier)} belong to an earlier run\n"
    if others := not_pooled(work, samples):
        text += f"{'not covered:':13} {', '.join(others[:SHOWN])}{_and_more(others)}, of earlier runs\n"
    write_text(output_dir / "summary.txt", text)
    for name, content in describe_for_multiqc(table).items():
        outputs.append(output_dir / name)
        write_text(outputs[-1], content)
    if not failed:
        settings = {"samples": list(samples), "called": list(called)}
        write_provenance(record, "summary", settings, inputs, outputs)


def _left_out_genes(sample: str, record: Path) -> pd.DataFrame:
    """Return the genes of the user's file that prepare left out, as rows of left_out.tsv."""
    genes = read_provenance(record, "prepare").details.get("left_out", [])
    rows = [
        (sample, f"{contig}:{start}-{end}({strand}) {name}".strip(), reason)
        for name, contig, start, end, strand, reason in genes
    ]
    return pd.DataFrame(rows, columns=["sample", "record", "reason"])


def _and_more(samples: Sequence[str]) -> str:
    """Return the number of samples that are not named, in words."""
    return f" and {len(samples) - SHOWN:,} more samples" if len(samples) > SHOWN else ""


def _count(records: pd.DataFrame, packed: Provenance, merged: Provenance) -> dict[str, int | float]:
    """Return the counts of a sample."""
    shards = packed.details["shards"]
    bins = sum(shard["bins"] for shard in shards)
    return {
        "records": len(records),
        "letters": int(records["length"].sum()),
        "left_out": int((records["proteins"] == 0).sum()),
        "chunks": int(records["chunks"].sum()),
        "proteins": int(records["proteins"].sum()),
        "ambiguous": int(records["ambiguous"].sum()),
        "duplicates": packed.details["duplicates"],
        "truncated": packed.details["truncated"],
        "screened": packed.details["screened"],
        "shards": len(shards),
        "bins": bins,
        "tokens": sum(shard["tokens"] for shard in shards),
        "room": bins * packed.details["token_budget"],
        "seconds": merged.details["seconds"],
    }
