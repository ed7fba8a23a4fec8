"""A run of any size as its stages would leave it, with invented scores: tables and records as the stages write them."""

import csv
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from Bio.bgzf import BgzfWriter

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling import CALL_FILES, POOLED_FILES
from virnucpro.calling.calls import decide_contigs
from virnucpro.calling.pooled import pool_regions
from virnucpro.calling.published import CHUNK_COLUMNS, TIERS
from virnucpro.calling.requirements import Requirements
from virnucpro.calling.result_files import GENE_COLUMNS, NAME_COLUMNS, REGION_COLUMNS, GeneWriter, encode
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.files import file_digest
from virnucpro.data.provenance import write_provenance
from virnucpro.data.records import Record, read_contigs
from virnucpro.data.tables import write_table
from virnucpro.pipeline.report import report

REQUIREMENTS = Requirements(
    DESCRIPTION, cellular_to=((500, -1.0), (1500, 0.0), (3000, 0.5)), fewest_residues=100, most_genes=40
)
MAX_FDR = 0.05
VIRAL = 0.3  # of the contigs
SCORED = ["log_odds", "genes", "residues", "genetic_code"]
_RATES = {"found": 0.8, "false": 0.02, "lost": 0.06, "unresolved": 0.1, "auroc": 0.97}
_OF_SET = {name: {"value": value, "low": value - 0.01, "high": value + 0.01} for name, value in _RATES.items()}
MEASURED = {
    **dict.fromkeys(("cross-validation", "test", "test, 0.5 to 1.5 kb"), _OF_SET | {"viral": 300, "cellular": 200}),
    "kinds": [{"kind": "phage", "contigs": 300, "viral": 240, "cellular": 18, "unresolved": 42}],
    "shares": [{"share": 0.05, "estimated": 0.06, "stated": 0.05, "true": 0.04, "found": 0.7}],
}
VERSIONS = {"virnucpro": "0.9.1", "pyrodigal-gv": "0.3.2", "pyrodigal": "3.7.1", "snakemake": "9.27.1"}
HOSTILE = [
    "<img/src=x/onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    "\"'><svg/onload=window.hacked=1>",
    "{{7*7}}${7*7}&amp;&lt;b&gt;",
    "wîde日|;=%09,#",
    "a" * 300,
]
FUNCTIONS = [
    "",
    "terminase large subunit",
    "portal protein",
    "cellular",
    "",
    "major capsid protein",
    "<b>tail</b>; fiber",
]
LAMBDA = {
    "topology": "DTR",
    "terminal_repeat": "127",
    "hallmarks": "2",
    "taxonomy": "Viruses;Duplodnaviria;Heunggongvirae;Uroviricota;Caudoviricetes;;;Lambdavirus",
    "taxon_rank": "genus",
    "taxon_score": "0.973",
    "taxon_note": "ICTV has no family there",
    "taxon_length": "39093-40470",
    "genome": "dsDNA",
    "virus": "tailed phage",
    "closest": "NC_001416.1",
    "closest_name": "Escherichia phage Lambda <img/src=y/onerror=window.hacked=1>",
    "closest_share": "0.9103",
    "closest_identity": "0.9867",
    "why": "It shares 91 % of its k-mers with <b>Escherichia phage Lambda</b>, and two of its genes are hallmarks.",
}
PLANT = {
    "taxonomy": "Viruses;Riboviria;Orthornavirae",
    "taxon_rank": "kingdom",
    "taxon_score": "0.912",
    "taxon_note": "no known family is close enough",
    "taxon_length": "",
    "virus": "RNA virus",
    "why": "Embeddings of its genes are those of Orthornavirae.",
}


def names(count: int) -> list[str]:
    return [f"NODE_{number}_length_x_cov_{(7919 * number) % 1000 / 10}" for number in range(1, count + 1)]


SAMPLES = {"soil": names(90), "gut": [*HOSTILE, *(f"k{number}" for number in range(40))]}  # gut has the default share


def write(folder: Path, samples: dict[str, list[str]], longest: int = 6000, **settings: Any) -> Path:
    fastas = make_run(folder, samples, longest, **settings)
    report(folder, list(fastas), list(fastas.values()))
    return folder / "report.html"


def calls(folder: Path) -> pd.DataFrame:
    """Return all contigs of a run, read without the code under test."""
    options = {"sep": "\t", "keep_default_na": False, "quoting": csv.QUOTE_NONE}
    tables = [pd.read_csv(found, **options).assign(sample=found.parent.name) for found in folder.glob("*/contigs.tsv")]
    return pd.concat(tables, ignore_index=True)


def make_run(
    folder: Path,
    samples: Mapping[str, Sequence[str]],
    longest: int = 6000,
    requirements: Requirements = REQUIREMENTS,
    prior: float | None = None,
) -> dict[str, Path]:
    """Write the results of samples with contigs of these names; return the samples' FASTA files."""
    fastas = {}
    for sample, contigs in samples.items():
        fastas[sample] = folder / f"{sample}.fa"
        _make_sample(folder, sample, fastas[sample], contigs, longest, requirements, prior)
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
    pool_regions(folder, list(samples), *(folder / name for name in POOLED_FILES))
    outputs = [folder / name for name in ("summary.tsv", "left_out.tsv", "packing.svg", *POOLED_FILES)]
    write_provenance(folder / "work" / "summary.json", "summary", {}, {}, outputs)
    return fastas


def _make_sample(
    run: Path,
    sample: str,
    fasta: Path,
    contigs: Sequence[str],
    longest: int,
    requirements: Requirements,
    prior: float | None,
) -> None:
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
    genes, scored = [], {}
    for number, (name, length) in enumerate(zip(contigs, lengths.tolist(), strict=True)):
        count = 0 if number and number == len(contigs) - 1 else 1 + length // 900
        centre = rng.normal(*rng.choice([(-5, 3), (5, 3)], p=[1 - VIRAL, VIRAL]))
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
                    "screen" if log_odds < -3 else "encoder",
                    function := FUNCTIONS[gene % len(FUNCTIONS)],
                    "0.9731" if function else "",
                )
            )
        if count:
            scored[name] = {"log_odds": centre, "genes": count, "residues": length // 4, "genetic_code": 11}
            if requirements.is_published:
                scored[name] |= {"tier": TIERS[2]} | dict.fromkeys(CHUNK_COLUMNS[1:], 1)
    table = pd.DataFrame(genes, columns=GENE_COLUMNS)
    write_table(table.assign(start=table["start"] + 1), folder / "genes.tsv")
    extra = CHUNK_COLUMNS if requirements.is_published else []
    of_contigs = pd.DataFrame.from_dict(scored, orient="index", columns=[*SCORED, *extra]).astype({"log_odds": float})
    calls, share = decide_contigs(
        requirements, pd.Series(lengths, list(contigs), dtype=int), of_contigs, prior, MAX_FDR
    )
    holding = (calls["call"] == "cellular").to_numpy() & (np.arange(len(calls)) % 7 == 2)
    calls.insert(len(calls.columns) - 1, "proviruses", holding.astype(int))
    write_table(_name(calls), folder / "contigs.tsv")
    _write_features(folder, table, contigs, lengths.tolist())
    _write_regions(folder, fasta, _name(calls))
    with new_embedding_file(folder / "embeddings.h5", table["protein"].tolist(), DESCRIPTION) as file:
        file["embedding"][...] = rng.normal(
            table["log_odds"].to_numpy(np.float64)[:, None], 1, (len(table), *DESCRIPTION.row_shape)
        )
    details: dict[str, Any] = {"share": share._asdict(), "cellular_to": requirements.cellular_to}
    details |= {"fewest_residues": requirements.fewest_residues, "is_published": requirements.is_published}
    _write_records(folder, run / "work" / sample, fasta, details, prior)


def _name(calls: pd.DataFrame) -> pd.DataFrame:
    """Return calls with names: every third viral contig is an RNA virus, the others are phages."""
    blank = dict.fromkeys(["topology", "terminal_repeat", *NAME_COLUMNS], "")
    why = "{0} of {0} genes speak for a cell; 6.0 % of viruses of 0.5 to 1.5 kb are called cellular."
    rows = [blank | {"why": why.format(genes)} for genes in calls["genes"]]
    for count, number in enumerate(np.flatnonzero(calls["call"] == "viral")):
        rows[number] = blank | (LAMBDA if count % 3 else PLANT)
    named = pd.DataFrame(rows, calls.index, list(blank), dtype=str)
    return pd.concat([calls.iloc[:, :-1], named, calls.iloc[:, -1:]], axis=1)


def _write_regions(folder: Path, fasta: Path, calls: pd.DataFrame) -> None:
    """Write viral contigs, and proviruses from base 101 to 200 in the contigs that hold one."""
    gff3, rows = "##gff-version 3\n", []
    letters = {contig.name.decode(): contig.letters for contig in (read_contigs(fasta) if len(calls) else [])}
    with BgzfWriter(folder / "viral.fasta.gz") as sequences:
        for row in calls[(calls["call"] == "viral") | (calls["proviruses"] > 0)].to_dict("records"):
            contig, is_provirus = row["contig"], row["proviruses"] > 0
            start, end = (101, 200) if is_provirus else (1, row["length"])
            name = f"{contig}|provirus_{start}_{end}" if is_provirus else contig
            region = {"name": name, "start": start, "end": end, "length": end - start + 1}
            if is_provirus:
                region |= {"topology": "provirus", "genes": 1, "score": "0.9000", "fdr": ""}
            rows.append(row | region)
            feature = "proviral_region" if is_provirus else "viral_sequence"
            gff3 += f"##sequence-region {encode(contig)} 1 {row['length']}\n"
            gff3 += f"{encode(contig)}\tvirnucpro\t{feature}\t{start}\t{end}\t{rows[-1]['score']}\t.\t.\tID=x;genes=1\n"
            sequences.write(b">%b\n%b\n" % (name.encode(), letters[contig][start - 1 : end]))
    write_table(pd.DataFrame(rows, columns=[*REGION_COLUMNS, *NAME_COLUMNS]), folder / "regions.tsv")
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
        writer = GeneWriter(faa, out, gff3, zip(contigs, lengths, strict=True))
        for name, length in zip(contigs, lengths, strict=True):
            writer.write(Record(name.encode(), b"A" * length), [next(rows) for _ in range(counts.get(name, 0))])


def _write_records(folder: Path, work: Path, fasta: Path, details: dict[str, Any], prior: float | None) -> None:
    digest = file_digest(fasta)
    work.mkdir(parents=True)
    made = {
        "input": {"path": str(fasta), "sha256": digest},
        "embedding": DESCRIPTION.as_json(),
        "settings": {"model": "tiny", "chunk_size": 500},
        "devices": ["cpu"],
        "attention": ["sdpa"],
        "versions": {"virnucpro": "0.1.0", "torch": "2.13.0"},
        "architecture": "ESM-2",
        "screened": 0,
        "command": "virnucpro run --no-call",
        "finished": "2026-11-26T10:00:00+00:00",
    }
    write_provenance(work / "prepare.json", "prepare", {}, {"fasta": digest}, [])
    merged = folder / "embeddings.h5"
    write_provenance(work / "merge.json", "merge", {}, {}, [merged], made)
    outputs = [folder / name for name in CALL_FILES if (folder / name).exists()]
    details |= {"genes": "pyrodigal-gv"}
    details |= {"nucleotides": None, "measured": MEASURED, "command": "virnucpro run soil.fa", "versions": VERSIONS}
    inputs = {"classifier": digest, "fasta": digest, "embeddings.h5": file_digest(merged)}
    settings = {"prior": prior, "max_fdr": MAX_FDR, "min_length": 0}
    write_provenance(work / "call.json", "call", settings, inputs, outputs, details)
