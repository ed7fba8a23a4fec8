"""Odd ids of contigs: each stays the same, and joins, in all files of two samples and of their run."""

import csv
import gzip
import random
import shutil
import subprocess
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gffutils
import numpy as np
import pandas as pd
import pytest
from Bio import SeqIO

from tests.conftest import ROOT
from tests.pipeline.test_call import EMBEDDING, random_classifier
from tests.records import record_embeddings
from virnucpro.calling.classifier import load_classifier, save_classifier
from virnucpro.calling.pooled import pool_regions
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.fasta import read_fasta
from virnucpro.pipeline.call import call
from virnucpro.pipeline.prepare import prepare_genes
from virnucpro.proteins.table import read_proteins

PROVIRUS = "provirus_2536_9570"  # of each contig of the sample `hosts`
LONG = "NODE_1_length_8500_cov_12.345678_" * 10
ODD = [
    # assemblers and databases
    *("NODE_1_length_8500_cov_9.050000", "NODE_2_length_8500_cov_9.5", "k141_1", "contig_1", "s1.ctg000001c"),
    *("gi|9626243|ref|NC_001416.1|", "gnl|X|y", "chr1", "c.01", "c.1"),
    # headers of BED as bedtools sees them, and of other formats
    *("track", "track_1", "TRACK_2", "browser", "browser.x", "Browser", "visibility", "chrom", "Chrom"),
    *("chrom_1", "crack", "#x", "##gff-version", "!x", ">", ">x", "CRAM", "@HD", "//", "LOCUS"),
    # GFF3, and pairs that differ only by encoding
    *("a;b", "a%3Bb", "a%253Bb", "a=b", "a,b", "a&b", "a%20b", "a%", "%", "100%_id"),
    # shells, regular expressions and spreadsheets
    *("it's", 'a"b', "a\\b", "\\", "f(x)", "[x]", "x{y}", "{y}", "$x", "`x`", "*", "?"),
    *("~", "^", "-x", "+x", "=1+1", "@x", "'"),
    *(".", "..", "|", "||", "x|", "/x/y", "<x>", ":", "a:1-5", "a:", "a-", "-", "_"),
    # numbers and words that a reader of tables may convert
    *("7", "007", "1e5", "1_000", "0x1F", "NA", "N/A", "null", "None", "nan", "-inf", "inf", "True", "2026-11-30"),
    *("é", "日本", "🦠", "Ünïcode;ß"),
    # long names, with all quotes doubled in GenBank
    *(LONG[:46], LONG[:47], LONG[:60], LONG[:200], 'q"' * 23, "é" * 60),
    # names like ours, and case
    *("h", f"h|{PROVIRUS}", f"h|{PROVIRUS}_2", "x", "x_1", "x_1_1", "a", "A", "viruses|a"),
]
QUOTED = ['"q"', '"', '""x']  # pandas takes a quote at the beginning of a cell for that of the whole cell
WITHOUT_GENES = "none"  # last contig of each sample
SAMPLES = ("viruses", "hosts", "quoted")
needs_bedtools = pytest.mark.skipif(not shutil.which("bedtools"), reason="needs bedtools: apt-get install bedtools")
needs_samtools = pytest.mark.skipif(not shutil.which("samtools"), reason="needs samtools: apt-get install samtools")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three samples. In `hosts` all contigs have a provirus, in the others all are viral."""
    folder = tmp_path_factory.mktemp("run")
    for sample in SAMPLES:
        call_sample(folder, sample, QUOTED if sample == "quoted" else ODD, viral=sample != "hosts")
    pool_regions(folder, SAMPLES, folder / "viral.tsv", folder / "viral.fasta.gz")
    return folder


def call_sample(run: Path, sample: str, names: list[str], viral: bool) -> None:
    """Call contigs of 12 kb of phage Lambda, with one gene of each contig changed."""
    folder, fasta, rng = run / sample, run / f"{sample}.fa", random.Random(sample)
    (_, letters), *_ = read_fasta(ROOT / "config" / "demo.fna.gz")
    marks = ["".join(rng.choices("ACG", k=30)) for _ in names]  # no stop codon on either strand
    contigs = [letters[31_000:36_500] + mark + letters[36_530:44_600] for mark in marks]
    records = [*zip(names, contigs, strict=True), (WITHOUT_GENES, "AC")]
    fasta.write_text("".join(f">{name}\n{contig}\n" for name, contig in records))
    prepare_genes(fasta, folder / "prepared")
    embedding = replace(EMBEDDING, proteins="gene", chunk_size=0, short_chunks=())
    proteins = read_proteins(folder / "prepared")
    with new_embedding_file(folder / "embeddings.h5", proteins["protein"].tolist(), embedding) as file:
        is_viral = proteins["start"].between(2_500, 9_300) | viral
        file["embedding"][...] = np.where(is_viral, 4, 0)[:, None] * np.eye(embedding.embed_dim)[0]
    record_embeddings(folder)
    model = load_classifier(random_classifier(run / "c.safetensors", embedding))
    arrays: dict[str, Any] = {
        name: np.zeros_like(getattr(model, name)) for name in ("mean", "hidden_bias", "contig_weight", "hidden_weight")
    }
    arrays["hidden_weight"][:, 0, 0] = 1  # log-odds of a protein: 4 or -4
    arrays |= {"output_weight": np.full_like(model.output_weight, 2), "output_bias": np.full(2, -4, np.float32)}
    arrays["contig_bias"] = np.full(1, 5 if viral else -5, np.float32)
    save_classifier(replace(model, **arrays), run / "c.safetensors")
    call(fasta, folder, folder, run / "c.safetensors", prior=0.5)


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)


def contigs_of(sample: str) -> list[str]:
    return QUOTED if sample == "quoted" else ODD


def bedtools(*command: str | Path, text: str | None = None) -> list[list[str]]:
    done = subprocess.run(["bedtools", *command], input=text, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def attribute(cell: str, key: str) -> str:
    return unquote(dict(pair.split("=") for pair in cell.split(";"))[key])


def overlaps(sample: Path) -> list[tuple[str, ...]]:
    """Return contig, name of the region and gene of each overlap, by the tables."""
    joined = read(sample / "regions.tsv").merge(read(sample / "genes.tsv"), on="contig")
    place = joined[["start_x", "end_x", "start_y", "end_y"]].astype(int)
    met = joined[(place["start_x"] <= place["end_y"]) & (place["start_y"] <= place["end_x"])]
    return sorted(met[["contig", "name", "protein"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_tables_join(run: Path, sample: str) -> None:
    folder, names = run / sample, contigs_of(sample)
    assert len(set(names)) == len(names)
    contigs, regions, genes = (read(folder / f"{name}.tsv") for name in ("contigs", "regions", "genes"))
    assert contigs["contig"].tolist() == [*names, WITHOUT_GENES]
    assert regions["contig"].tolist() == names
    assert genes["contig"].drop_duplicates().tolist() == names
    assert genes["protein"].is_unique
    expected = [f"{name}|{PROVIRUS}" if sample == "hosts" else name for name in names]
    if sample == "hosts":
        expected[names.index("h")] = f"h|{PROVIRUS}_3"  # two contigs have the names before it
    assert regions["name"].tolist() == expected
    assert read(folder / "miuvig.tsv")["contig"].tolist() == expected
    pooled = read(run / "viral.tsv").query("sample == @sample")
    assert sorted(pooled["name"]) == sorted(f"{sample}|{name}" for name in expected)
    assert sorted(pooled["contig"]) == sorted(names)


@pytest.mark.parametrize("sample", ["viruses", "hosts"])
def test_pandas_reads_the_tables_without_quoting(run: Path, sample: str, tmp_path: Path) -> None:
    pool_regions(run, [sample], tmp_path / "viral.tsv", tmp_path / "viral.fasta.gz")
    for path in [*(run / sample).glob("*.tsv"), tmp_path / "viral.tsv"]:
        pd.testing.assert_frame_equal(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False), read(path))


@pytest.mark.parametrize("sample", SAMPLES)
def test_biopython_reads_the_names(run: Path, sample: str) -> None:
    folder = run / sample
    regions, genes = read(folder / "regions.tsv"), read(folder / "genes.tsv")
    with gzip.open(folder / "viral.fasta.gz", "rt") as file:
        letters = {record.id: str(record.seq) for record in SeqIO.parse(file, "fasta")}
    assert list(letters) == regions["name"].tolist()
    assert len(set(letters.values())) == len(letters)
    assert [record.id for record in SeqIO.parse(folder / "genes.faa", "fasta")] == genes["protein"].tolist()
    records = list(SeqIO.parse(folder / "viral.gbk", "genbank"))
    assert [record.id for record in records] == list(letters)  # VERSION
    assert [record.name for record in records] == list(letters)  # LOCUS
    tags = [
        (contig, record.id, feature.qualifiers["locus_tag"][0])
        for contig, record in zip(regions["contig"], records, strict=True)
        for feature in record.features
    ]
    assert sorted(tags) == overlaps(folder)
    assert [str(record.seq) for record in records] == list(letters.values())


@needs_bedtools
@pytest.mark.parametrize("sample", SAMPLES)
def test_bedtools_joins_regions_and_genes(run: Path, sample: str) -> None:
    bed, gff3, genes = (run / sample / name for name in ("regions.bed", "regions.gff3", "genes.gff3"))
    regions = read(run / sample / "regions.tsv")
    lines = [line.split("\t") for line in bed.read_text().splitlines()]
    assert [unquote(line[0]) for line in lines] == regions["contig"].tolist()
    assert [line[3] for line in lines] == regions["name"].tolist()
    assert bedtools("intersect", "-u", "-a", bed, "-b", bed) == lines
    assert sorted(bedtools("sort", "-i", bed)) == sorted(lines)
    for line in (line for line in lines if line[3].isascii()):  # bedtools guesses the format from the first line
        assert bedtools("intersect", "-u", "-a", "stdin", "-b", gff3, text="\t".join(line) + "\n") == [line]
    joined = [line for line in bedtools("intersect", "-wa", "-wb", "-a", bed, "-b", gff3) if line[8] != "region"]
    assert [line[:6] for line in joined] == lines
    assert [attribute(line[14], "ID") for line in joined] == regions["name"].tolist()
    joined = [line for line in bedtools("intersect", "-wa", "-wb", "-a", bed, "-b", genes) if line[8] != "region"]
    found = sorted((unquote(line[6]), line[3], attribute(line[14], "ID")) for line in joined)
    assert found == overlaps(run / sample)
    joined = [line for line in bedtools("intersect", "-wa", "-wb", "-a", genes, "-b", bed) if line[2] != "region"]
    assert sorted((unquote(line[0]), line[12], attribute(line[8], "ID")) for line in joined) == found


@pytest.mark.parametrize("sample", SAMPLES)
def test_gffutils_reads_the_names(run: Path, sample: str) -> None:
    for file, table, column in (("regions", "regions", "name"), ("genes", "genes", "protein")):
        expected = read(run / sample / f"{table}.tsv")
        database = gffutils.create_db(str(run / sample / f"{file}.gff3"), ":memory:", merge_strategy="error")
        assert database.count_features_of_type() == len(expected) + database.count_features_of_type("region")
        features = [database[name] for name in expected[column]]
        assert [unquote(feature.seqid) for feature in features] == expected["contig"].tolist()
        assert [feature.attributes["ID"] for feature in features] == [[name] for name in expected[column]]
        assert [str(feature.start) for feature in features] == expected["start"].tolist()


@needs_samtools
@pytest.mark.parametrize("sample", ["viruses", "hosts", "quoted", "."])
def test_samtools_finds_every_sequence(run: Path, sample: str, tmp_path: Path) -> None:
    names = read(run / sample / ("viral.tsv" if sample == "." else "regions.tsv"))["name"].tolist()
    fasta = tmp_path / "viral.fasta.gz"
    shutil.copy(run / sample / fasta.name, fasta)
    subprocess.run(["samtools", "faidx", fasta], check=True)
    assert [line.split("\t")[0] for line in Path(f"{fasta}.fai").read_text().splitlines()] == names
    # samtools would take these for {NAME}, and for regions of contig `a`.
    braced = [f"{{{name}}}" if name.split("|")[-1] in ("a:1-5", "a:") or name[0] == "{" else name for name in names]
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in braced))
    command: list[str | Path] = ["samtools", "faidx", "-r", tmp_path / "names.txt", fasta]
    cut = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with gzip.open(fasta, "rt") as file:
        assert [record.seq for record in SeqIO.parse(StringIO(cut), "fasta")] == [
            record.seq for record in SeqIO.parse(file, "fasta")
        ]
