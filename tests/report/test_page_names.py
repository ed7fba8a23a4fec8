"""The page names viruses and genes; each name of the made run holds HTML that must stay text."""

import csv
import itertools
from pathlib import Path

import pandas as pd
import pytest

from tests.report.browser import Page
from tests.report.conftest import Open
from tests.report.made_run import LAMBDA, PLANT, calls, names, write

PLOT = 'echarts.getInstanceByDom(document.querySelector("#contig-plot"))'
WIDTH = f"return {PLOT}.getWidth()"
ZOOM = f"{PLOT}.dispatchAction({{ type: 'dataZoom', start: 0, end: arguments[0] }}); {PLOT}.getZr().flush()"
BOXES = f"""const texts = {PLOT}.getZr().storage.getDisplayList(true).filter(one => one.type === "tspan");
    const products = new Set(readFeatures(page.data.drawn[page.open].gff3).map(gene => gene.product));
    return texts.filter(one => products.has(one.style.text)).map(one => {{
      const box = one.getBoundingRect().clone();
      if (one.transform) box.applyTransform(one.transform);
      return [one.style.text, box.x, box.y, box.width, box.height];
    }});"""


@pytest.fixture(scope="module")
def long_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of contigs of up to 60 kb, with labels for more genes than there is room for."""
    return write(tmp_path_factory.mktemp("long"), {"soil": names(30)}, longest=60_000)


@pytest.fixture
def long_page(long_path: Path, open_page: Open) -> Page:
    return open_page(long_path, 800)


def shown(page: Page) -> list[str]:
    return sorted(page.run("return page.table.getData('active').map(r => r.id)"))


def named(path: Path) -> pd.DataFrame:
    table = calls(path.parent)
    return table[table["virus"] != ""]


def open_named(page: Page, virus: str) -> None:
    """Open the contig with the most genes among those of a virus."""
    script = "return page.rows.filter(r => r.virus === arguments[0]).toSorted((a, b) => b.genes - a.genes)[0].index"
    page.run("openContig(arguments[0])", page.run(script, virus))
    page.wait("document.querySelector('#contig-plot canvas')")


def cells(page: Page, field: str) -> list[str]:
    script = "return [...document.querySelectorAll(`#table .tabulator-cell[tabulator-field=${arguments[0]}]`)]"
    return list(page.run(f"{script}.map(cell => cell.textContent)", field))


def test_the_table_shows_names(page: Page) -> None:
    page.run("page.table.setHeaderFilterValue('virus', 'Tailed')")
    page.wait("page.table.getDataCount('active') < page.rows.length")
    columns = {
        "virus": "tailed phage",
        "taxon": "Lambdavirus",
        "topology": "DTR",
        "closest_name": LAMBDA["closest_name"],
    }
    for field, text in columns.items():
        assert set(cells(page, field)) == {text}
    assert page.run("return window.hacked") is None
    assert page.run("return document.querySelectorAll('img').length") == 1, "the picture of the packing"
    assert page.problems() == []


@pytest.mark.parametrize("words", ["lambdavirus", "Uroviricota", "TAILED PHAGE", "phage Lambda <img", "NC_001416.1"])
def test_a_search_finds_by_names(words: str, page: Page, path: Path) -> None:
    page.run("page.table.setHeaderFilterValue('id', arguments[0])", words)
    table = named(path)
    found = sorted(table.loc[table["virus"] == LAMBDA["virus"], "contig"])
    assert 0 < len(found) < len(table)
    assert shown(page) == found


def test_a_search_finds_by_functions_of_viral_genes(page: Page, path: Path) -> None:
    tables = [pd.read_csv(one, sep="\t", quoting=csv.QUOTE_NONE) for one in path.parent.glob("*/genes.tsv")]
    genes = pd.concat(tables)
    page.run("page.table.setHeaderFilterValue('id', 'major capsid')")
    found = sorted(set(genes.loc[genes["function"] == "major capsid protein", "contig"]))
    assert 0 < len(found) < genes["contig"].nunique()
    assert shown(page) == found
    page.run("page.table.setHeaderFilterValue('id', 'cellular')")
    assert shown(page) == [], "genes of cells have no function to search"


def test_a_filter_finds_taxa_of_any_rank(page: Page, path: Path) -> None:
    page.run("page.table.setHeaderFilterValue('taxon', 'riboviria')")
    table = named(path)
    assert shown(page) == sorted(table.loc[table["virus"] == PLANT["virus"], "contig"])


def test_a_contig_shows_its_names(page: Page) -> None:
    open_named(page, LAMBDA["virus"])
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


def test_genes_are_labelled_with_viral_functions(long_page: Page) -> None:
    open_named(long_page, LAMBDA["virus"])
    svg = long_page.download("#save-svg").read_text()
    assert "terminase large subunit" in svg
    assert ">&lt;b&gt;tail&lt;/b&gt;; fiber<" in svg
    assert svg.count(">cellular<") == 1, "the end of the scale of colors"
    genes = long_page.run(
        "return readFeatures(page.data.drawn[page.open].gff3).slice(0, 7).map(g => [g.product, geneTip(g)])"
    )
    functions = ["", "terminase large subunit", "portal protein", "", "", "major capsid protein", "<b>tail</b>; fiber"]
    assert [product for product, _ in genes] == functions
    assert genes[1][1].startswith("<b>terminase large subunit</b> (0.9731)<br>")
    assert genes[6][1].startswith("<b>&lt;b&gt;tail&lt;/b&gt;; fiber</b> (0.9731)<br>")
    assert not genes[0][1].startswith("<b>")


def test_labels_do_not_touch(long_page: Page) -> None:
    """A label that has no room in any line is left out until the plot is zoomed in."""
    open_named(long_page, LAMBDA["virus"])
    genes = long_page.run("return readFeatures(page.data.drawn[page.open].gff3).filter(g => g.product).length")
    for zoom, least in ((100, 8), (15, 1)):
        long_page.run(ZOOM, zoom)
        boxes = long_page.run(BOXES)
        assert least <= len(boxes) <= genes
        for (_, left, top, width, height), (_, x, y, w, h) in itertools.combinations(boxes, 2):
            assert left + width <= x or x + w <= left or top + height <= y or y + h <= top
        assert all(left >= 0 and left + width <= long_page.run(WIDTH) for _, left, _, width, _ in boxes)
