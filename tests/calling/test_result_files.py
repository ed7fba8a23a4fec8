"""Names of genes and regions in every result file, read by other programs' readers; all texts are hostile."""

import csv
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from Bio import SeqIO

from virnucpro.calling import CALL_FILES
from virnucpro.calling.calls import SampleScores
from virnucpro.calling.regions import Region
from virnucpro.calling.result_files import GENE_COLUMNS, NAME_COLUMNS, write_result_files

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
            place = (f"{contig}_{number}", contig, 1000 * number, 1000 * number + 900, "+", "gene", 11, "no")
            genes.append((*place, function, "0.9731" if function else "", 299, len(faa)))
            faa += b"M" * 299 + b"\n"
    (folder / "fasta").write_bytes(fasta)
    (folder / "faa").write_bytes(faa)
    proteins = pd.DataFrame(genes, columns=[*GENE_COLUMNS[:8], "function", "function_score", "residues", "offset"])
    names = pd.DataFrame.from_dict(NAMES, orient="index", columns=NAME_COLUMNS).fillna("")
    places = {"phage": (6000, "whole"), "host": (5000, "provirus"), "unknown": (6000, "whole")}
    write_result_files(
        {name: folder / name for name in CALL_FILES},
        folder / "fasta",
        folder / "faa",
        proteins,
        SampleScores(np.full(len(genes), 1.5), pd.DataFrame()),
        pd.DataFrame({"contig": contigs, "genes": len(FUNCTIONS)}),
        {name: [Region(name, 0, end, 4, 0.9, kind)] for name, (end, kind) in places.items()},
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
    assert regions["kind"].tolist() == ["whole", "provirus", "whole"]
    for (_, row), names in zip(regions.iterrows(), NAMES.values(), strict=True):
        assert {name: value for name, value in row[NAME_COLUMNS].items() if value} == names


def test_gff3_has_products_of_viral_genes_and_names_of_regions(written: Path) -> None:
    genes = attributes(written / "genes.gff3")
    assert [gene.get("product", "") for gene in genes] == 3 * ["portal protein", HOSTILE, "", ""]
    assert [gene.get("function_score", "") for gene in genes] == 3 * ["0.9731", "0.9731", "", ""]
    shown = ("taxonomy", "virus", "closest")
    for region, names in zip(attributes(written / "regions.gff3"), NAMES.values(), strict=True):
        assert {name: region[name] for name in shown if name in region} == {
            name: names[name] for name in shown if name in names
        }


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
