"""Circular contigs: genes, evidence, regions and files do not depend on where the circle was opened, nor the strand."""

import gzip
import itertools
import math
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from Bio import SeqIO
from Bio.SeqRecord import SeqRecord
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from virnucpro.calling import REGION_FILES
from virnucpro.calling.evidence import EVIDENCE, describe_groups, evidence_of_contigs
from virnucpro.calling.regions import CHAIN, Region, circular_posterior, find_regions, genes_of_contigs
from virnucpro.calling.result_files import NAME_COLUMNS, RegionWriter
from virnucpro.data.arrays import Floats
from virnucpro.data.fasta import read_fasta
from virnucpro.data.records import Record, read_contigs
from virnucpro.pipeline.prepare import prepare_genes
from virnucpro.proteins.genes import find_genes
from virnucpro.proteins.table import read_proteins
from virnucpro.proteins.translation import reverse_complement

DEMO = {name.split("_N")[0]: sequence for name, sequence in read_fasta(ROOT / "config" / "demo.fna.gz")}
BEFORE, PROPHAGE, AFTER = DEMO["MG1655_seq54"], DEMO["lambda"][:20_000], DEMO["MG1655_seq58"]
HOST = BEFORE + PROPHAGE + AFTER
CIRCLES = {"host": HOST, "phage": DEMO["T7"]}
VIRAL = {
    gene.protein.decode()
    for letters, circular in ((PROPHAGE, False), (DEMO["T7"], True))
    for gene in find_genes([Record(b"", letters.encode(), circular=circular)])[0]
}
INSIDE = len(BEFORE) + 10_000
# The first base, within the prophage, near its borders, within the host, the last base.
ORIGINS = [1, INSIDE, len(BEFORE) - 50, len(BEFORE) + 700, len(HOST) - len(AFTER) + 5, 3_456, len(HOST) - 1]

Place = tuple[int, int, str]  # start, size and strand


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=9))
def test_the_posterior_of_a_circle_is_that_over_all_ways_around(evidence: list[float]) -> None:
    change = {(0, 0): 1.0, (1, 1): 1.0, (0, 1): CHAIN.enter, (1, 0): CHAIN.leave}
    weights, viral = 0.0, np.zeros(len(evidence))
    for states in itertools.product((0, 1), repeat=len(evidence)):
        pairs = zip(states, states[1:] + states[:1], strict=True)
        weight = math.exp(np.dot(states, evidence)) * math.prod(change[pair] for pair in pairs)
        weights += weight
        viral += weight * np.array(states)
    np.testing.assert_allclose(circular_posterior(evidence), viral / weights, rtol=1e-9)


@pytest.mark.parametrize("parts", [[-1.0, 1.2, -1.0], [1.2, -1.0, 1.2]])
def test_the_posterior_of_a_circle_of_many_genes_is_a_number(parts: list[float]) -> None:
    evidence = np.repeat(parts, [6000, 50, 5500])
    assert ((circular_posterior(evidence.tolist()) > 0.5) == (evidence > 0)).all()


def regions_of(log_odds: Floats, gene: int = 900) -> list[Region]:
    """Return the proviruses of a circle of genes of 900 bases, end to end."""
    starts = np.arange(len(log_odds)) * gene
    genes = pd.DataFrame({"contig": "c", "start": starts, "end": starts + gene, "log_odds": log_odds})
    return regions_of_genes(genes, len(genes) * gene)


def regions_of_genes(genes: pd.DataFrame, length: int) -> list[Region]:
    calls = {"contig": ["c"], "length": [length], "call": ["cellular"], "genes": [len(genes)], "score": ["0"]}
    return find_regions(pd.DataFrame(calls), genes, circles={"c"}).get("c", [])


@given(st.lists(st.tuples(st.integers(3, 30), st.sampled_from([-4.0, 1.5, 2.5])), min_size=1, max_size=8), st.data())
def test_proviruses_of_a_circle_turn_with_its_genes(parts: list[tuple[int, float]], data: st.DataObject) -> None:
    log_odds = np.repeat([value for _, value in parts], [count for count, _ in parts])
    length = 900 * len(log_odds)
    origin = data.draw(st.integers(0, len(log_odds)))
    expected = sorted((r.start, r.end - r.start, r.genes, round(r.score, 9)) for r in regions_of(log_odds))
    rotated = regions_of(np.roll(log_odds, -origin))
    assert rotated == sorted(rotated)
    assert all(0 <= region.start < length for region in rotated)
    assert expected == sorted(
        ((r.start + 900 * origin) % length, r.end - r.start, r.genes, round(r.score, 9)) for r in rotated
    )


def test_a_provirus_across_the_origin_is_one_region() -> None:
    (found,) = regions_of(np.repeat([2.5, -4.0, 2.5], [10, 60, 15]))
    assert (found.start, found.end, found.genes) == (70 * 900, 95 * 900, 25)
    assert found.name == "c|provirus_63001_85500"
    assert regions_of(np.repeat([2.5, -4.0], [3, 60])) == []  # too few genes
    assert regions_of(np.full(30, 2.5)) == []  # the whole circle, which its call covers


def test_proviruses_of_a_circle_are_in_the_order_of_their_starts() -> None:
    found = regions_of(np.repeat([2.5, -4.0, 2.5, -4.0], [15, 30, 20, 30]))
    assert [(region.start, region.end) for region in found] == [(0, 15 * 900), (45 * 900, 65 * 900)]


def test_a_provirus_is_no_longer_than_its_circle() -> None:
    """The last gene spans the origin and all genes of the host lie in it."""
    starts = np.concatenate([np.arange(30) * 900, 26_200 + 60 * np.arange(12)])
    ends = np.concatenate([starts[:29] + 900, [28_000], starts[30:] + 60])
    log_odds = np.repeat([2.5, -4.0], [30, 12])
    genes = pd.DataFrame({"contig": "c", "start": starts, "end": ends, "log_odds": log_odds})
    (found,) = regions_of_genes(genes, 27_000)
    assert (found.start, found.end, found.genes) == (0, 27_000, 30)


class Called(NamedTuple):
    """A rotated circle after prepare and find_regions, with positions on the unrotated circle."""

    folder: Path
    letters: str
    genes: dict[Place, tuple[str, float]]  # protein and log-odds
    evidence: Floats
    proviruses: list[tuple[tuple[int, int], int, float]]  # start and size, genes, score
    regions: list[Region]  # places as on the rotated circle


def call_circle(name: str, origin: int, turn: bool, folder: Path) -> Called:
    """Call a circle that is opened elsewhere and turned; genes with a protein of lambda or T7 count as viral."""
    circle = CIRCLES[name]
    length = len(circle)
    letters = circle[origin:] + circle[:origin]
    letters = reverse_complement(letters.encode()).decode() if turn else letters
    fasta = folder / "c.fa"
    fasta.write_text(f">c circular=true\n{letters}\n")
    prepare_genes(fasta, folder / "prepared")
    table = describe_groups(read_proteins(folder / "prepared"))
    proteins = (folder / "prepared" / "proteins.faa").read_text().splitlines()[1::2]
    log_odds = np.array([(2.5 if one in VIRAL else -3) + crc32(one.encode()) % 100 / 100 for one in proteins])
    call = "viral" if name == "phage" else "cellular"
    calls = {"contig": ["c"], "length": [length], "call": [call], "genes": [len(table)], "score": ["0.9"]}
    regions = find_regions(pd.DataFrame(calls), genes_of_contigs(table, log_odds), circles={"c"})["c"]
    scored = table.assign(log_odds=log_odds, score=0.5, function="")
    names = pd.DataFrame("", [region.name for region in regions], [*NAME_COLUMNS, "topology", "fdr"])
    with ExitStack() as stack:
        faa = stack.enter_context((folder / "prepared" / "proteins.faa").open("rb"))
        writer = RegionWriter(stack, [folder / file for file in REGION_FILES], faa, names, [("c", length)])
        writer.write(next(read_contigs(fasta)), regions, list(scored.itertuples(index=False)))

    def place(start: int, end: int, strand: str = "+") -> Place:
        begin = length - end if turn else start
        return (begin + origin) % length, end - start, {"+": "-", "-": "+"}[strand] if turn else strand

    places = map(place, table["start"], table["end"], table["strand"])
    return Called(
        folder,
        letters,
        dict(zip(places, zip(proteins, log_odds, strict=True), strict=True)),
        evidence_of_contigs(table, log_odds, pd.Series({"c": length}), 40)[EVIDENCE].to_numpy(),
        [(place(one.start, one.end)[:2], one.genes, round(one.score, 9)) for one in regions],
        regions,
    )


@pytest.fixture(scope="module")
def unrotated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Called]:
    return {name: call_circle(name, 0, False, tmp_path_factory.mktemp(name)) for name in CIRCLES}


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_rotated_host_has_the_same_provirus(
    unrotated: dict[str, Called], tmp_path: Path, origin: int, turn: bool
) -> None:
    expected, found = unrotated["host"], call_circle("host", origin, turn, tmp_path)
    assert found.genes == expected.genes
    np.testing.assert_allclose(found.evidence, expected.evidence)
    ((start, size), genes, _), *others = expected.proviruses
    assert not others
    assert len(BEFORE) <= start < start + size <= len(BEFORE) + len(PROPHAGE)
    assert genes == sum(log_odds > 0 for _, log_odds in expected.genes.values()) > 15
    assert found.proviruses == expected.proviruses


@pytest.mark.parametrize(("origin", "turn"), [(20_000, False), (5, True), (33_333, True)])
def test_a_rotated_phage_has_the_same_genes_and_all_in_its_record(
    unrotated: dict[str, Called], tmp_path: Path, origin: int, turn: bool
) -> None:
    expected, found = unrotated["phage"], call_circle("phage", origin, turn, tmp_path)
    assert found.genes == expected.genes
    np.testing.assert_allclose(found.evidence, expected.evidence)
    assert found.regions == expected.regions
    record = SeqIO.read(found.folder / "viral.gbk", "genbank")
    assert record.annotations["topology"] == "circular"
    check_features(record, sorted(protein for protein, _ in found.genes.values()))


def check_features(record: SeqRecord, proteins: list[str]) -> None:
    """Check that a record has these proteins, each at the position of its letters."""
    assert sorted(feature.qualifiers["translation"][0] for feature in record.features) == proteins
    for feature in record.features:
        read = str(feature.extract(record.seq).translate(11))
        assert read[1:-1] == feature.qualifiers["translation"][0][1:]  # an alternative start codon is M
        assert read[-1] == "*"


@pytest.fixture(params=[False, True])
def across(request: pytest.FixtureRequest, tmp_path: Path) -> Called:
    """Return a host that was opened within its provirus, in a gene."""
    return call_circle("host", INSIDE, request.param, tmp_path)


def test_files_hold_a_provirus_across_the_origin_once_and_whole(across: Called, unrotated: dict[str, Called]) -> None:
    (region,) = across.regions
    length = len(HOST)
    assert region.start < length < region.end
    letters = (across.letters * 2)[region.start : region.end]
    table = pd.read_csv(across.folder / "regions.tsv", sep="\t")
    assert table[["start", "end", "genes"]].to_numpy().tolist() == [[region.start + 1, region.end, region.genes]]
    assert (across.folder / "regions.gff3").read_text().splitlines() == [
        "##gff-version 3",
        f"##sequence-region c 1 {length}",
        f"c\tvirnucpro\tregion\t1\t{length}\t.\t.\t.\tIs_circular=true",
        f"c\tvirnucpro\tproviral_region\t{region.start + 1}\t{region.end}\t{region.score:.4f}\t.\t.\t"
        f"ID={quote(region.name, safe='|')};genes={region.genes}",
    ]
    bed = [line.split("\t") for line in (across.folder / "regions.bed").read_text().splitlines()]
    assert [line[:4] for line in bed] == [
        ["c", str(region.start), str(length), region.name],
        ["c", "0", str(region.end - length), region.name],
    ]
    with gzip.open(across.folder / "viral.fasta.gz", "rt") as file:
        (record,) = SeqIO.parse(file, "fasta")
    assert (record.id, str(record.seq)) == (region.name, letters)
    record = SeqIO.read(across.folder / "viral.gbk", "genbank")
    assert str(record.seq) == letters
    assert record.annotations["topology"] == "linear"
    viral = [protein for protein, log_odds in across.genes.values() if log_odds > 0]
    assert len(viral) == region.genes
    check_features(record, sorted(viral))
    starts = [feature.location.start for feature in record.features]
    assert starts == sorted(starts)
    spanning = [start for start, size, _ in across.genes if start < INSIDE < start + size]
    assert spanning, "the circle is to be opened within a gene"


@pytest.mark.skipif(not shutil.which("gt"), reason="needs gt: apt-get install genometools")
def test_genometools_takes_a_provirus_across_the_origin(across: Called) -> None:
    command = ["gt", "gff3validator", "-strict", str(across.folder / "regions.gff3")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "input is valid GFF3"
