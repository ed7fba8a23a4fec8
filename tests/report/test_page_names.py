"""The page names viruses and genes; each name of the made run holds HTML that must stay text."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from tests.report.browser import Page
from tests.report.made_run import LAMBDA, PLANT, calls


def find(page: Page, words: str) -> list[str]:
    """Search the contigs of all labels, and return the names of those that are shown."""
    script = "for (const box of document.querySelectorAll('[name=label]')) box.checked = box.value !== 'provirus'"
    page.run(script)
    page.set("[name=words]", words)
    return sorted(page.run("return page.table.getRows('active').map(row => row.getData().id)"))


def named(path: Path) -> pd.DataFrame:
    table = calls(path.parent)
    return table[table["virus"] != ""]


def cells(page: Page, field: str) -> list[str]:
    script = "return [...document.querySelectorAll(`#table .tabulator-cell[tabulator-field=${arguments[0]}]`)]"
    return list(page.run(f"{script}.map(cell => cell.textContent)", field))


def test_the_table_shows_names(page: Page) -> None:
    find(page, "Tailed phage")
    columns = {"taxonomy": "Lambdavirus", "topology": "DTR", "why": LAMBDA["why"]}
    for field, text in columns.items():
        assert set(cells(page, field)) == {text}
    titles = page.run(
        "return [...document.querySelectorAll('[tabulator-field=taxonomy] [title]')].map(one => one.title)"
    )
    assert all("Uroviricota" in title for title in titles)
    assert page.run("return window.hacked") is None
    assert page.run("return document.querySelectorAll('img').length") == 1, "the picture of the packing"
    assert page.problems() == []


@pytest.mark.parametrize("words", ["lambdavirus", "Uroviricota", "TAILED PHAGE", "phage Lambda <img", "NC_001416.1"])
def test_a_search_finds_by_names(words: str, page: Page, path: Path) -> None:
    table = named(path)
    found = sorted(table.loc[table["virus"] == LAMBDA["virus"], "contig"])
    assert 0 < len(found) < len(table)
    assert find(page, words) == found


def test_a_search_finds_by_functions_of_viral_genes(page: Page, path: Path) -> None:
    tables = [pd.read_csv(one, sep="\t", quoting=csv.QUOTE_NONE) for one in path.parent.glob("*/genes.tsv")]
    genes = pd.concat(tables)
    found = sorted(set(genes.loc[genes["function"] == "major capsid protein", "contig"]))
    assert 0 < len(found) < genes["contig"].nunique()
    assert find(page, "major capsid") == found
    functions = page.run("return page.rows.flatMap(row => row.functions.split(', '))")
    assert "portal protein" in functions
    assert "cellular" not in functions, "genes of cells have no function to search"


def test_a_search_finds_taxa_of_any_rank(page: Page, path: Path) -> None:
    table = named(path)
    assert find(page, "riboviria") == sorted(table.loc[table["virus"] == PLANT["virus"], "contig"])


def test_a_contig_shows_its_names(page: Page) -> None:
    script = "return page.rows.filter(r => r.virus === arguments[0]).toSorted((a, b) => b.genes - a.genes)[0].index"
    page.run("openContig(arguments[0])", page.run(script, LAMBDA["virus"]))
    assert page.text("#contig-why") == LAMBDA["why"]
    script = (
        "return [...document.querySelectorAll('#contig-names dt')].map(t => [t.textContent, t.nextSibling.textContent])"
    )
    facts = dict(page.run(script))
    assert facts["virus"] == "tailed phage"
    assert facts["genome"] == "dsDNA, DTR, terminal repeat of 127 bp"
    assert facts["taxonomy"].split(" \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} ") == [
        taxon for taxon in LAMBDA["taxonomy"].split(";") if taxon
    ]
    assert facts["lowest rank"] == "genus, score 0.973, ICTV has no family there"
    shared = "91.0 % of protein k-mers shared, amino-acid identity about 98.7 %"
    assert facts["closest known"] == f"{LAMBDA['closest_name']}, NC_001416.1, {shared}"
    assert facts["hallmark genes"] == "2"
    assert facts["functions"].startswith("terminase large subunit, portal protein, major capsid protein")
    page.run("openContig(page.rows.find(r => !r.virus).index)")
    assert page.text("#contig-why").endswith(
        "genes speak for a cell; 6.0 % of viruses of 0.5 to 1.5 kb are called cellular."
    )
    assert not {"virus", "taxonomy", "closest known"} & dict(page.run(script)).keys()
    assert page.run("return window.hacked") is None
    assert page.problems() == []
