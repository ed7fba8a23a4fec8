"""Proviruses: the segmentation against all ways to divide a contig, and the files against other programs."""

import gzip
import itertools
import math
import random
import shutil
import subprocess
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from Bio import SeqIO
from Bio.Seq import Seq

from tests.conftest import ROOT
from virnucpro.calling import REGION_FILES
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.regions import (
    BOUND,
    CHAIN,
    LEAST_BASES,
    LEAST_SCORE,
    SCORE_BIAS,
    SCORE_WEIGHT,
    Region,
    cut_out,
    evidence_of_genes,
    find_regions,
    genes_of_contigs,
    supported,
    viral_posterior,
)
from virnucpro.calling.result_files import NAME_COLUMNS, REGION_COLUMNS, RegionWriter, encode
from virnucpro.data.records import Record


@pytest.mark.parametrize("seed", range(5))
def test_the_posterior_is_that_over_all_ways_to_divide(seed: int) -> None:
    evidence = np.random.default_rng(seed).normal(0, 3, 9)
    change = {(0, 0): 1.0, (1, 1): 1.0, (0, 1): CHAIN.enter, (1, 0): CHAIN.leave}
    weights, viral = 0.0, np.zeros(len(evidence))
    for states in itertools.product((0, 1), repeat=len(evidence)):
        weight = math.exp(np.dot(states, evidence)) * math.prod(change[pair] for pair in itertools.pairwise(states))
        weights += weight
        viral += weight * np.array(states)
    np.testing.assert_allclose(viral_posterior(evidence.tolist()), viral / weights, rtol=1e-9)


def test_the_posterior_of_one_gene_and_of_none() -> None:
    np.testing.assert_allclose(viral_posterior([2.0]), [1 / (1 + math.exp(-2))])
    assert len(viral_posterior([])) == 0


def test_one_gene_of_any_log_odds_makes_no_region() -> None:
    evidence = evidence_of_genes(np.array([-4.0] * 20 + [1e9] + [-4.0] * 20))
    assert evidence.max() == evidence_of_genes(np.array([BOUND]))[0]
    assert (viral_posterior(evidence.tolist()) < 0.5).all()


def contig(name: str, *parts: tuple[int, float], gene: int = 900) -> tuple[pd.DataFrame, int]:
    """Genes of 900 bases, end to end, from parts of (number, log-odds); and their total length."""
    log_odds = [value for count, value in parts for _ in range(count)]
    starts = np.arange(len(log_odds)) * gene
    table = pd.DataFrame({"contig": name, "start": starts, "end": starts + gene, "log_odds": log_odds})
    return table, len(log_odds) * gene


def regions(call: str, *parts: tuple[int, float]) -> list[Region]:
    return regions_of(call, *contig("c", *parts))


def regions_of(call: str, genes: pd.DataFrame, length: int) -> list[Region]:
    calls = pd.DataFrame(
        {"contig": ["c"], "length": [length], "call": [call], "genes": [len(genes)], "score": ["0.9876"]}
    )
    return find_regions(calls, genes).get("c", [])


def test_a_provirus_is_cut_out_from_gene_to_gene() -> None:
    (found,) = regions("cellular", (50, -4), (40, 2.5), (60, -4))
    assert found[:4] == ("c", 50 * 900, 90 * 900, 40)
    assert found.is_provirus
    assert found.name == "c|provirus_45001_81000"
    assert 0.5 < found.score < 1


def test_the_score_follows_from_the_evidence_of_the_genes() -> None:
    (found,) = regions("cellular", (50, -4), (16, 2.5), (60, -4))
    evidence = 16 * (0.281 * 2.5 + 0.105)
    assert found.score == pytest.approx(1 / (1 + math.exp(3.81 - 0.519 * evidence)))


def test_the_fitted_numbers_are_those_of_the_docs() -> None:
    text = " ".join((ROOT / "docs" / "proviruses.md").read_text().split())
    assert f"clipped to the range from {-BOUND:g} to {BOUND:g}. The evidence of a gene is {CHAIN.weight} times" in text
    assert f"log-odds, plus {CHAIN.bias}." in text
    assert f"exp({math.log(CHAIN.enter):.3f}) from host to virus, exp({math.log(CHAIN.leave):.4g}) back." in text
    assert f"1 / (1 + exp({-SCORE_BIAS} - {SCORE_WEIGHT} s))" in text
    assert f"{LEAST_BASES:,} bases" in text
    assert f"with a probability below {LEAST_SCORE} are left out." in text


def test_a_provirus_ends_where_the_farthest_of_its_genes_ends() -> None:
    genes, length = contig("c", (50, -4), (40, 2.5), (60, -4))
    genes.loc[88, "end"] = 90 * 900 + 300  # beyond the last gene of the provirus
    (found,) = regions_of("cellular", genes, length)
    assert (found.start, found.end) == (50 * 900, 90 * 900 + 300)


def test_more_genes_are_better_evidence() -> None:
    (few,) = regions("cellular", (50, -4), (20, 1.5), (60, -4))
    (many,) = regions("cellular", (50, -4), (60, 1.5), (60, -4))
    assert few.score < many.score


def test_two_proviruses_and_genes_of_the_host_in_one() -> None:
    first, second = regions("unresolved", (50, -4), (20, 1.5), (2, -3), (20, 1.5), (40, -4), (30, 2), (9, -4))
    assert (first.start, first.end) == (50 * 900, 92 * 900)
    assert (second.start, second.end) == (132 * 900, 162 * 900)


def test_a_provirus_at_the_end_of_a_contig() -> None:
    (found,) = regions("cellular", (60, -4), (40, 2.5))
    assert (found.start, found.end) == (60 * 900, 100 * 900)


def test_what_is_no_provirus() -> None:
    assert regions("cellular", (50, -4), (5, 1), (60, -4)) == []  # too weak
    assert regions("unresolved", (30, 1)) == []  # the whole contig, which its call speaks of
    assert regions("cellular", (100, -4)) == []
    assert LEAST_BASES > 4 * 900
    assert regions("cellular", (50, -4), (4, 4), (60, -4)) == []


@pytest.mark.parametrize(("gene", "found"), [(499, 0), (500, 1)])
def test_a_provirus_has_5000_bases(gene: int, found: int) -> None:
    genes, length = contig("c", (50, -4), (10, 4), (60, -4), gene=gene)
    assert len(regions_of("cellular", genes, length)) == found


def test_a_viral_contig_is_one_region() -> None:
    (found,) = regions("viral", (5, -4), (40, 1))
    assert found == Region("c", 0, 45 * 900, 45, 0.9876, "c")
    assert found.name == "c"


def test_a_genome_of_ten_megabases() -> None:
    (found,) = regions("cellular", (6000, -4), (50, 2.5), (5500, -4))
    assert (found.start, found.end) == (6000 * 900, 6050 * 900)


def test_frames_are_taken_by_chunks() -> None:
    """Frames that count represent a chunk. Chunks are sorted from the left end, also if numbered from the right."""
    rows = []
    for number in range(100):  # chunks counted from the right
        place = 500 * (99 - number)
        viral = 30 <= 99 - number < 70
        rows.append(
            (f"c_chunk_{number + 1}F1", "c", place, place + 498, 166, number, number + 1, 3.0 if viral else -4.0)
        )
        if number % 3 == 0:  # a shorter frame beside it, which does not count
            rows.append((f"c_chunk_{number + 1}R1", "c", place, place + 300, 100, 200 + number, number + 1, 9.0))
    columns = ["protein", "contig", "start", "end", "residues", "group", "chunk", "log_odds"]
    table = pd.DataFrame(rows, columns=columns)
    units = genes_of_contigs(describe_groups(table), table["log_odds"].to_numpy())
    assert units["start"].tolist() == [500 * number for number in range(100)]
    assert set(units["log_odds"]) == {3.0, -4.0}
    calls = pd.DataFrame({"contig": ["c"], "length": [50_000], "call": ["cellular"], "genes": [134], "score": ["0.1"]})
    (found,) = find_regions(calls, units)["c"]
    assert (found.start, found.end, found.genes) == (15_000, 34_998, 40)


def test_genes_of_regions_are_cut_out_also_across_an_origin() -> None:
    starts = [0, 1000, 2000, 3000, 100, 1100, 2100]
    proteins = pd.DataFrame({"contig": [*"aaaabbb"], "start": starts, "end": [start + 900 for start in starts]})
    inside, across = Region("a", 1000, 2900, 2, 0.9, "a|1"), Region("b", 2100, 4000, 2, 0.9, "b|1")
    cut, rows = cut_out([inside, across], proteins, pd.Series({"a": 5000, "b": 3000}))
    assert cut[["contig", "start"]].to_numpy().tolist() == [["a|1", 1000], ["a|1", 2000], ["b|1", 100], ["b|1", 2100]]
    assert rows.tolist() == [1, 2, 4, 6]


HOSTILE = 'a;b=c%,&"x"|>é'
EVIDENCE = "left: attL 45 bp (E 1e-18) at tRNA-Leu, integrase; right: chain only"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Files of three contigs with hostile names: one with a provirus, a circular virus, and one without regions."""
    rng = random.Random(0)
    residues = [("".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=299))) for _ in range(40)]
    faa, offsets = b"", []
    for number, protein in enumerate(residues):
        head = f">g{number}\n".encode()
        offsets.append(len(faa) + len(head))
        faa += head + protein.encode() + b"\n"
    (tmp_path / "proteins.faa").write_bytes(faa)
    contigs = [Record(name.encode(), "".join(rng.choices("ACGT", k=20_000)).encode()) for name in (HOSTILE, "none")]
    contigs.insert(1, Record(b"circle", "".join(rng.choices("ACGT", k=9_000)).encode(), circular=True))

    def gene(number: int, start: int, strand: str, partial: str = "no") -> SimpleNamespace:
        place = {"start": start, "end": start + 900, "strand": strand, "partial": partial}
        scores = {"score": 0.75, "log_odds": 1.099, "kind": "gene", "genetic_code": 11, "function": ""}
        return SimpleNamespace(protein=f"g{number}", residues=299, offset=offsets[number], **place, **scores)

    genes = [[gene(number, 1000 * number, "+-"[number % 2]) for number in range(20)], [], []]
    genes[1] = [gene(20, 100, "-"), gene(21, 1200, "+", "start"), gene(22, 8500, "+"), gene(23, 8600, "-")]
    names = [f"{HOSTILE}|provirus_5001_11900", f"{HOSTILE}|provirus_14001_19900", "circle"]
    found = [
        [Region(HOSTILE, 5000, 11_900, 7, 0.8, names[0]), Region(HOSTILE, 14_000, 19_900, 6, 0.25, names[1], EVIDENCE)],
        [Region("circle", 0, 9000, 4, 1.0, names[2])],
        [],
    ]
    with (tmp_path / "contigs.fa").open("wb") as file:
        for one in contigs:
            file.write(b">%b\n%b\n" % (one.name, one.letters))
    topologies = {"topology": ["provirus", "provirus", "circular"], "fdr": ["", "", "0.0012"]}
    with ExitStack() as stack:
        faa_file = stack.enter_context((tmp_path / "proteins.faa").open("rb"))
        table = pd.DataFrame("", names, NAME_COLUMNS).assign(**topologies)
        lengths = [(one.name.decode(), len(one.letters)) for one in contigs[:2]]
        writer = RegionWriter(stack, [tmp_path / name for name in REGION_FILES], faa_file, table, lengths)
        for one, of_one, its_genes in zip(contigs, found, genes, strict=True):
            writer.write(one, of_one, its_genes)
    return tmp_path


def test_the_table_counts_from_one(written: Path) -> None:
    table = pd.read_csv(written / "regions.tsv", sep="\t", quoting=3, keep_default_na=False, dtype=str)
    assert table.columns.tolist() == [*REGION_COLUMNS, *NAME_COLUMNS]
    assert table[REGION_COLUMNS].to_numpy().tolist() == [
        [f"{HOSTILE}|provirus_5001_11900", HOSTILE, "5001", "11900", "6900", "provirus", "7", "0.8000", "", ""],
        [f"{HOSTILE}|provirus_14001_19900", HOSTILE, "14001", "19900", "5900", "provirus", "6", "0.2500", "", EVIDENCE],
        ["circle", "circle", "1", "9000", "9000", "circular", "4", "1.0000", "0.0012", ""],
    ]


def test_the_gff3_states_the_evidence_for_borders(written: Path) -> None:
    lines = [line for line in (written / "regions.gff3").read_text().splitlines() if not line.startswith("#")]
    stated = [line.partition("border_evidence=")[2] for line in lines if "provir" in line or "viral_sequence" in line]
    assert [unquote(one) for one in stated] == ["", EVIDENCE, ""]


@pytest.mark.skipif(not shutil.which("gt"), reason="needs gt: apt-get install genometools")
def test_genometools_takes_the_gff3(written: Path) -> None:
    done = subprocess.run(["gt", "gff3validator", "-strict", written / "regions.gff3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "input is valid GFF3"


@pytest.mark.skipif(not shutil.which("bedtools"), reason="needs bedtools: apt-get install bedtools")
@pytest.mark.parametrize("name", ["a;b=c,d", "track_1", "browser", "#1", "a%3Bb", "x|y"])
def test_bedtools_joins_bed_and_gff3_of_any_contig(tmp_path: Path, name: str) -> None:
    (tmp_path / "proteins.faa").touch()
    region = Region(name, 100, 900, 5, 0.9, f"{name}|provirus_101_900")
    with ExitStack() as stack:
        faa = stack.enter_context((tmp_path / "proteins.faa").open("rb"))
        names = pd.DataFrame("", [region.name], [*NAME_COLUMNS, "topology", "fdr"])
        writer = RegionWriter(stack, [tmp_path / file for file in REGION_FILES], faa, names, [])
        writer.write(Record(name.encode(), b"ACGT" * 500), [region], [])
    command = ["bedtools", "intersect", "-wb", "-a", tmp_path / "regions.bed", "-b", tmp_path / "regions.gff3"]
    (line,) = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    joined = line.split("\t")
    assert joined[1:4] == ["100", "900", region.name]
    assert [unquote(joined[at]) for at in (0, 6)] == [name, name]
    assert joined[9:11] == ["101", "900"]


@pytest.mark.skipif(not shutil.which("bedtools"), reason="needs bedtools: apt-get install bedtools")
def test_bedtools_cuts_out_what_the_fasta_holds(written: Path) -> None:
    encoded = written / "encoded.fa"  # names as BED and GFF3 have them
    records = SeqIO.parse(written / "contigs.fa", "fasta")
    encoded.write_text("".join(f">{encode(record.id)}\n{record.seq}\n" for record in records))
    command = ["bedtools", "getfasta", "-nameOnly", "-fi", encoded, "-bed", written / "regions.bed"]
    cut = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    expected = {record.id: str(record.seq) for record in SeqIO.parse(StringIO(cut), "fasta")}
    with gzip.open(written / "viral.fasta.gz", "rt") as file:
        found = {record.id: str(record.seq) for record in SeqIO.parse(file, "fasta")}
    assert found == expected
    assert list(found) == [f"{HOSTILE}|provirus_5001_11900", f"{HOSTILE}|provirus_14001_19900", "circle"]


@pytest.mark.skipif(not shutil.which("samtools"), reason="needs samtools: apt-get install samtools")
def test_samtools_indexes_the_fasta(written: Path) -> None:
    command = ["samtools", "faidx", written / "viral.fasta.gz", f"{HOSTILE}|provirus_5001_11900"]
    cut = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    letters = {record.id: record.seq for record in SeqIO.parse(written / "contigs.fa", "fasta")}
    assert SeqIO.read(StringIO(cut), "fasta").seq == letters[HOSTILE][5000:11_900]


def test_a_provirus_gets_the_name_of_no_contig() -> None:
    genes, length = contig("c", (50, -4), (40, 2.5), (60, -4))
    names = ["c", "c|provirus_45001_81000", "c|provirus_45001_81000_2"]
    calls = pd.DataFrame({"contig": names, "length": length, "call": "cellular", "genes": 0, "score": "0.1"})
    (found,) = find_regions(calls, genes)["c"]
    assert found.name == "c|provirus_45001_81000_3"


def test_a_viral_contig_that_is_no_circle_is_linear_in_the_genbank_file(tmp_path: Path) -> None:
    (tmp_path / "proteins.faa").touch()
    with ExitStack() as stack:
        faa = stack.enter_context((tmp_path / "proteins.faa").open("rb"))
        names = pd.DataFrame("", ["line"], [*NAME_COLUMNS, "topology", "fdr"])
        writer = RegionWriter(stack, [tmp_path / name for name in REGION_FILES], faa, names, [])
        writer.write(Record(b"line", b"ACGT" * 500), [Region("line", 0, 2000, 3, 1.0, "line")], [])
    assert SeqIO.read(tmp_path / "viral.gbk", "genbank").annotations["topology"] == "linear"


def test_biopython_reads_the_genbank_file(written: Path) -> None:
    letters = {record.id: record.seq for record in SeqIO.parse(written / "contigs.fa", "fasta")}
    first, second, circle = SeqIO.parse(written / "viral.gbk", "genbank")
    assert str(first.seq) == str(letters[HOSTILE][5000:11_900])
    assert [feature.qualifiers["locus_tag"][0] for feature in first.features] == [f"g{n}" for n in range(5, 12)]
    assert len(second.features) == 6
    assert circle.annotations["topology"] == "circular"
    proteins = {record.id: str(record.seq) for record in SeqIO.parse(written / "proteins.faa", "fasta")}
    for record in (first, second, circle):
        for feature in record.features:
            assert feature.type == "CDS"
            assert feature.qualifiers["translation"] == [proteins[feature.qualifiers["locus_tag"][0]]]
            assert feature.qualifiers["note"] == ["virnucpro score 0.7500, log-odds 1.099"]
    across = {feature.qualifiers["locus_tag"][0]: feature.extract(circle.seq) for feature in circle.features}
    doubled = letters["circle"] * 2
    assert across["g22"] == doubled[8500:9400]
    assert across["g23"] == Seq(str(doubled[8600:9500])).reverse_complement()
    partial = circle.features[1].location
    assert type(partial.start).__name__ == "BeforePosition"
    assert type(partial.end).__name__ == "ExactPosition"


@pytest.mark.parametrize(
    ("hallmarks", "score", "is_listed"), [("2", 0.6, True), ("1", 0.89, False), ("0", 0.9, True), ("", 0.6, True)]
)
def test_a_provirus_needs_hallmark_genes_or_a_high_score(hallmarks: str, score: float, is_listed: bool) -> None:
    provirus = Region("c", 10, 90, 9, score, "c|provirus_11_90")
    phage = Region("p", 0, 90, 9, 0.7, "p")
    found = supported({"c": [provirus], "p": [phage]}, {provirus.name: hallmarks, "p": "0"})
    assert found == ({"c": [provirus]} if is_listed else {}) | {"p": [phage]}
