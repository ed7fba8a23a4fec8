"""Names of genes and regions in every result file, read by other programs' readers; all texts are hostile."""

import csv
import datetime
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from Bio import SeqIO
from Bio.SeqRecord import SeqRecord

from virnucpro.calling import CALL_FILES, PREDICTION_FILES, REGION_FILES
from virnucpro.calling.calls import SampleScores
from virnucpro.calling.published import chunk_scores
from virnucpro.calling.regions import Region
from virnucpro.calling.result_files import GENE_COLUMNS, NAME_COLUMNS, GeneWriter, RegionWriter, write_result_files
from virnucpro.data.records import Record

HOSTILE = 'a;b=c, &"x"%20|>é'
LAMBDA = ["Viruses", "Duplodnaviria", "Heunggongvirae", "Uroviricota", "Caudoviricetes", "Lambdavirus"]
NAMES = {
    "phage": {
        "hallmarks": "2",
        "taxonomy": "Viruses;Duplodnaviria;Heunggongvirae;Uroviricota;Caudoviricetes;;;Lambdavirus",
        "virus": "tailed phage",
        "closest": HOSTILE,
        "closest_name": HOSTILE,
        "closest_share": "0.9103",
        "why": f"Its closest known virus is {HOSTILE}.",
    },
    "host|provirus_1_5000": {"taxonomy": "Viruses", "virus": "virophage"},
    "unknown": {},
}
FUNCTIONS = ["portal protein", HOSTILE, "cellular", ""]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three contigs of 6,000 bases and four genes each: two are viral, and one holds a provirus."""
    folder = tmp_path_factory.mktemp("written")
    contigs, fasta, faa, genes = ["phage", "host", "unknown"], b"", b"", []
    for contig in contigs:
        fasta += b">%b\n%b\n" % (contig.encode(), b"ACGT" * 1500)
        for number, function in enumerate(FUNCTIONS):
            faa += f">{contig}_{number}\n".encode()
            place = (f"{contig}_{number}", contig, 1000 * number, 1000 * number + 900, "+", "gene", 11, "no", "encoder")
            genes.append((*place, function, "0.9731" if function else "", 299, len(faa)))
            faa += b"M" * 299 + b"\n"
    (folder / "fasta").write_bytes(fasta)
    (folder / "faa").write_bytes(faa)
    columns = [*GENE_COLUMNS[:8], *GENE_COLUMNS[10:], "residues", "offset"]
    proteins = pd.DataFrame(genes, columns=columns)
    names = pd.DataFrame.from_dict(NAMES, orient="index", columns=NAME_COLUMNS).fillna("")
    names = names.assign(topology=["DTR", "provirus", ""], fdr=["0.0012", "", "0.0500"])
    places = zip(contigs, (6000, 5000, 6000), NAMES, strict=True)
    frames = np.array([[0.25, 0.75]] * len(genes), np.float32)
    write_result_files(
        {name: folder / name for name in (*CALL_FILES, *PREDICTION_FILES)},
        folder / "fasta",
        folder / "faa",
        proteins,
        SampleScores(np.full(len(genes), 1.5), pd.DataFrame(), frames, chunk_scores(proteins, frames)),
        pd.DataFrame({"contig": contigs, "length": 6000, "genes": len(FUNCTIONS)}),
        {contig: [Region(contig, 0, end, 4, 0.9, name)] for contig, end, name in places},
        names,
    )
    return folder


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)


def attributes(path: Path) -> list[dict[str, str]]:
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    pairs = [[pair.split("=") for pair in line[8].split(";")] for line in lines]
    return [{key: unquote(value) for key, value in of_line} for of_line in pairs]


def test_tables_have_the_names(written: Path) -> None:
    genes = read(written / "genes.tsv")
    assert genes.columns.tolist() == GENE_COLUMNS
    assert genes["function"].tolist() == 3 * FUNCTIONS
    assert genes["function_score"].tolist() == 3 * ["0.9731", "0.9731", "0.9731", ""]
    regions = read(written / "regions.tsv")
    assert regions.columns.tolist()[-len(NAME_COLUMNS) :] == NAME_COLUMNS
    assert regions["topology"].tolist() == ["DTR", "provirus", ""]
    assert regions["fdr"].tolist() == ["0.0012", "", "0.0500"]
    for (_, row), names in zip(regions.iterrows(), NAMES.values(), strict=True):
        assert {name: value for name, value in row[NAME_COLUMNS].items() if value} == names


def test_the_originals_tables_have_all_frames_and_chunks(written: Path) -> None:
    frames, chunks = (read(written / name) for name in PREDICTION_FILES)
    assert frames["Sequence_ID"].tolist() == read(written / "genes.tsv")["protein"].tolist()
    assert chunks["Modified_ID"].tolist() == ["phage", "host", "unknown"]


def test_gff3_has_products_of_viral_genes_and_names_of_regions(written: Path) -> None:
    genes = attributes(written / "genes.gff3")
    assert [gene.get("product", "") for gene in genes] == 3 * ["portal protein", HOSTILE, "", ""]
    assert [gene.get("function_score", "") for gene in genes] == 3 * ["0.9731", "0.9731", "", ""]
    shown = ("taxonomy", "virus", "closest")
    for region, names in zip(attributes(written / "regions.gff3"), NAMES.values(), strict=True):
        assert {name: region[name] for name in shown if name in region} == {
            name: names[name] for name in shown if name in names
        }


@pytest.mark.skipif(not shutil.which("bedtools"), reason="needs bedtools: apt-get install bedtools")
def test_bedtools_reads_genes_before_a_contig_without_any(tmp_path: Path) -> None:
    (tmp_path / "faa").write_bytes(b">c_1\nM\n")
    path, row = tmp_path / "genes.gff3", gene(300, 363)
    row.contig = "c"
    with (tmp_path / "faa").open("rb") as residues, (tmp_path / "genes.faa").open("wb") as faa, path.open("wb") as gff3:
        writer = GeneWriter(residues, faa, gff3, [("c", 2000), ("none", 2000)])
        writer.write(Record(b"c", b"ACGT" * 500), [row])
        writer.write(Record(b"none", b"ACGT" * 500), [])
    command = ["bedtools", "intersect", "-u", "-a", path, "-b", path]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.splitlines() == path.read_text().splitlines()[3:]


def test_biopython_reads_the_names_of_the_genbank_file(written: Path) -> None:
    phage, provirus, unknown = SeqIO.parse(written / "viral.gbk", "genbank")
    for record in (phage, provirus, unknown):
        products = [feature.qualifiers["product"] for feature in record.features]
        assert products == [["portal protein"], [HOSTILE], ["hypothetical protein"], ["hypothetical protein"]]
    assert phage.annotations["taxonomy"] == LAMBDA
    assert provirus.annotations["taxonomy"] == ["Viruses"]
    assert unknown.annotations["taxonomy"] == []
    organisms = ["unclassified Lambdavirus", "unclassified Viruses", "viral metagenome"]
    for record, organism, division in zip((phage, provirus, unknown), organisms, ("PHG", "ENV", "ENV"), strict=True):
        assert record.annotations["organism"] == record.annotations["source"] == organism
        assert record.annotations["data_file_division"] == division


@pytest.mark.parametrize(
    ("virus", "division"),
    [
        *(("tailed phage", "PHG"), ("microvirus", "PHG"), ("RNA virus of bacteria", "PHG")),
        *(("RNA virus of plants", "VRL"), ("tailed virus of archaea", "VRL"), ("RNA virus", "ENV"), ("", "ENV")),
    ],
)
def test_the_division_follows_from_the_kind_of_virus(tmp_path: Path, virus: str, division: str) -> None:
    record = write_genbank(tmp_path, b"ACGT" * 500, [], virus=virus)
    assert record.annotations["data_file_division"] == division


def write_genbank(folder: Path, letters: bytes, genes: list[SimpleNamespace], **names: str) -> SeqRecord:
    """Write a viral contig with proteins of 20 residues, and return its record as Biopython reads it."""
    (folder / "faa").write_bytes(b"M" * 20)
    paths = [folder / name for name in REGION_FILES]
    table = pd.DataFrame("", ["c"], [*NAME_COLUMNS, "topology", "fdr"]).assign(**names)
    with ExitStack() as stack:
        writer = RegionWriter(stack, paths, stack.enter_context((folder / "faa").open("rb")), table, [])
        writer.write(Record(b"c", letters), [Region("c", 0, len(letters), len(genes), 0.9, "c")], genes)
    return SeqIO.read(folder / "viral.gbk", "genbank")


def gene(start: int, end: int, strand: str = "+", partial: str = "no", protein: str = "c_1") -> SimpleNamespace:
    place = {"start": start, "end": end, "strand": strand, "partial": partial, "protein": protein}
    of_table = {"kind": "gene", "genetic_code": 11, "residues": 20, "offset": 0}
    return SimpleNamespace(**place, **of_table, score=0.75, log_odds=1.099, scored_by="encoder", function="")


def test_the_record_has_the_day_of_the_call(tmp_path: Path) -> None:
    days = [datetime.date.today()]
    dated = write_genbank(tmp_path, b"ACGT" * 500, []).annotations["date"]
    days.append(datetime.date.today())
    assert dated in [f"{day:%d-%b-%Y}".upper() for day in days]


@pytest.mark.parametrize("length", [46, 47, 60, 150])
def test_a_long_name_of_a_protein_comes_back_unchanged(tmp_path: Path, length: int) -> None:
    protein = f"{'NODE_1_cov_12.5' * 10}"[: length - 2] + "_1"
    record = write_genbank(tmp_path, b"ACGT" * 500, [gene(300, 363, protein=protein)])
    assert record.features[0].qualifiers["locus_tag"] == [protein]
    assert record.features[0].qualifiers["translation"] == ["M" * 20]


@pytest.mark.parametrize(
    ("place", "location", "codon_start"),
    [
        ((2, 62, "+", "start"), "[<0:62](+)", "3"),
        ((1, 61, "-", "end"), "[<0:61](-)", "1"),
        ((1938, 1998, "-", "start"), "[1938:>2000](-)", "3"),
        ((1939, 1999, "+", "end"), "[1939:>2000](+)", "1"),
        ((900, 960, "+", "start"), "[<900:960](+)", "1"),  # cut off by a run of N
        ((2, 62, "+", "no"), "[2:62](+)", "1"),
    ],
)
def test_a_gene_that_is_cut_off_reaches_the_end_of_the_record(
    tmp_path: Path, place: tuple[int, int, str, str], location: str, codon_start: str
) -> None:
    letters = bytes(np.random.default_rng(0).choice(list(b"ACGT"), 2000).tolist())
    (feature,) = (record := write_genbank(tmp_path, letters, [gene(*place)])).features
    assert (str(feature.location), feature.qualifiers["codon_start"]) == (location, [codon_start])
    start, end, strand, _ = place
    cut = record.seq[start:end] if strand == "+" else record.seq[start:end].reverse_complement()
    assert feature.extract(record.seq)[int(codon_start) - 1 :][:60] == cut
