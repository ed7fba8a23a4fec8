"""A run of any size as its stages would leave it, with invented scores: tables and records as the stages write them."""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling import CALL_FILES
from virnucpro.calling.result_files import GeneWriter, encode
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.files import file_digest
from virnucpro.data.provenance import write_provenance
from virnucpro.data.records import Record
from virnucpro.data.tables import write_table

CONTIGS = [
    "contig",
    "length",
    "call",
    "score",
    "log_odds",
    "posterior",
    "false_share",
    "genes",
    "genetic_code",
    "proviruses",
    "reason",
]
LIMITS = {"viral_from": 1.5, "cellular_to": 0.5, "fewest_residues": 50}
DETAILS = LIMITS | {"nucleotides": None, "is_published": False}
HOSTILE = [
    "<img/src=x/onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    "\"'><svg/onload=window.hacked=1>",
    "{{7*7}}${7*7}&amp;&lt;b&gt;",
    "wîde日|;=%09,#",
    "a" * 300,
]


def names(count: int) -> list[str]:
    return [f"NODE_{number}_length_x_cov_{(7919 * number) % 1000 / 10}" for number in range(1, count + 1)]


def make_run(folder: Path, samples: Mapping[str, Sequence[str]], longest: int = 6000) -> dict[str, Path]:
    """Write the results of samples with contigs of these names; return the samples' FASTA files."""
    fastas = {}
    for sample, contigs in samples.items():
        fastas[sample] = folder / f"{sample}.fa"
        _make_sample(folder, sample, fastas[sample], contigs, longest)
    rows = [
        {"sample": sample, "records": len(contigs), "proteins": 5, "duplicates": 0}
        for sample, contigs in samples.items()
    ]
    summary = pd.DataFrame(rows).assign(
        bins=1, tokens=900, packing_efficiency=0.9, seconds=1.5, tokens_per_second=600.0
    )
    write_table(summary, folder / "summary.tsv")
    missed = [(sample, contigs[-1], "no open reading frame") for sample, contigs in samples.items() if len(contigs) > 1]
    write_table(pd.DataFrame(missed, columns=["sample", "record", "reason"]), folder / "left_out.tsv")
    (folder / "packing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="90" height="9"/>')
    outputs = [folder / name for name in ("summary.tsv", "left_out.tsv", "packing.svg")]
    write_provenance(folder / "work" / "summary.json", "summary", {}, {}, outputs)
    return fastas


def _make_sample(run: Path, sample: str, fasta: Path, contigs: Sequence[str], longest: int) -> None:
    folder = run / sample
    folder.mkdir(parents=True)
    rng, letters = np.random.default_rng(len(contigs)), random.Random(1)
    template = "".join(letters.choices("ACGT", k=longest))
    lengths = np.exp(rng.uniform(np.log(300), np.log(longest), len(contigs))).astype(int)
    with fasta.open("w") as file:
        for number, (name, length) in enumerate(zip(contigs, lengths, strict=True)):
            sequence = template[:length]
            if number % 10 == 3:
                sequence = sequence[:100] + "N" * 50 + sequence[150:]
            file.write(f">{name}\n{sequence}\n")
    genes, calls = [], []
    for number, (name, length) in enumerate(zip(contigs, lengths.tolist(), strict=True)):
        count = 0 if number and number == len(contigs) - 1 else 1 + length // 900
        centre = rng.normal(-3, 3)
        for gene in range(count):
            log_odds = round(float(rng.normal(centre, 1.5)), 3)
            begin = gene * 900
            genes.append(
                (
                    f"{name}_{gene + 1}",
                    name,
                    begin,
                    min(begin + 780, length),
                    "+-"[gene % 3 == 1],
                    "gene",
                    11,
                    "no",
                    round(1 / (1 + math.exp(-log_odds)), 4),
                    log_odds,
                )
            )
        log_odds = round(centre, 3)
        reason = "" if count else "no open reading frame"
        call = "viral" if log_odds >= LIMITS["viral_from"] else "cellular"
        if not count or LIMITS["cellular_to"] < log_odds < LIMITS["viral_from"]:
            call, reason = "unresolved", reason or "not clear enough"
        score = f"{1 / (1 + math.exp(-log_odds)):.4f}"
        proviruses = int(call == "cellular" and number % 7 == 2)
        calls.append((name, length, call, score, log_odds, score, "", count, 11, proviruses, reason))
    columns = ["protein", "contig", "start", "end", "strand", "kind", "genetic_code", "partial", "score", "log_odds"]
    table = pd.DataFrame(genes, columns=columns)
    write_table(table, folder / "genes.tsv")
    write_table(pd.DataFrame(calls, columns=CONTIGS), folder / "contigs.tsv")
    _write_features(folder, table, contigs, lengths.tolist())
    _write_regions(folder, calls)
    with new_embedding_file(folder / "embeddings.h5", table["protein"].tolist(), DESCRIPTION) as file:
        file["embedding"][...] = rng.normal(
            table["log_odds"].to_numpy(np.float64)[:, None], 1, (len(table), *DESCRIPTION.row_shape)
        )
    _write_records(folder, run / "work" / sample, fasta)


def _write_regions(folder: Path, calls: Sequence[tuple[Any, ...]]) -> None:
    """Have contigs that hold a provirus hold it from base 101 to 200."""
    tsv, gff3 = "contig\tstart\tend\tgenes\tscore\tkind\n", "##gff-version 3\n"
    for name, length, *_, proviruses, _reason in calls:
        if proviruses:
            tsv += f"{name}\t101\t200\t1\t0.9000\tprovirus\n"
            gff3 += f"##sequence-region {encode(name)} 1 {length}\n"
            gff3 += f"{encode(name)}\tvirnucpro\tproviral_region\t101\t200\t0.9000\t.\t.\tID=x;genes=1\n"
    (folder / "regions.tsv").write_text(tsv)
    (folder / "regions.gff3").write_text(gff3)


def _write_features(folder: Path, genes: pd.DataFrame, contigs: Sequence[str], lengths: Sequence[int]) -> None:
    rows = iter(genes.itertuples(index=False))
    counts = genes["contig"].value_counts().to_dict()
    (folder / "faa").write_bytes(b">x\nM\n" * len(genes))
    with (
        (folder / "faa").open("rb") as faa,
        (folder / "genes.faa").open("wb") as out,
        (folder / "genes.gff3").open("wb") as gff3,
    ):
        writer = GeneWriter(faa, out, gff3)
        for name, length in zip(contigs, lengths, strict=True):
            writer.write(Record(name.encode(), b"A" * length), [next(rows) for _ in range(counts.get(name, 0))])


def _write_records(folder: Path, work: Path, fasta: Path) -> None:
    digest = file_digest(fasta)
    work.mkdir(parents=True)
    made = {
        "input": {"path": str(fasta), "sha256": digest},
        "embedding": DESCRIPTION.as_json(),
        "settings": {"model": "tiny", "call": True},
        "devices": ["cpu"],
        "attention": ["sdpa"],
        "versions": {"virnucpro": "0.1.0", "torch": "2.13.0"},
        "command": "virnucpro run",
        "finished": "2026-11-26T10:00:00+00:00",
    }
    write_provenance(work / "prepare.json", "prepare", {}, {"fasta": digest}, [])
    merged = folder / "embeddings.h5"
    write_provenance(work / "merge.json", "merge", {}, {}, [merged], made)
    outputs = [folder / name for name in CALL_FILES if (folder / name).exists()]
    measured = {"found": 0.8, "false": 0.02, "auroc": 0.97}
    metrics = {name: {"value": value, "low": value - 0.01, "high": value + 0.01} for name, value in measured.items()}
    details = DETAILS | {"measured": {"test": metrics | {"viral": 300, "cellular": 200}}}
    inputs = {"classifier": digest, "fasta": digest, "embeddings.h5": file_digest(merged)}
    write_provenance(work / "call.json", "call", {"prior": 0.5, "min_length": 0}, inputs, outputs, details)
