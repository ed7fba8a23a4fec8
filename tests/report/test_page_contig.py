"""The view of one contig in Chromium: what its figure must show is worked out from the genes and the sequence."""

import csv
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.report.browser import Page
from tests.report.conftest import Open
from tests.report.contig_view import (
    HOSTILE,
    LEFT,
    MINUS,
    ONE,
    RIGHT,
    SVG,
    attribute,
    drawn_gc,
    genes_of,
    height_of,
    letters_of,
    place,
    shapes,
    show,
    texts,
    view,
    width,
)
from tests.report.made_run import calls
from virnucpro.report.drawn import composition


def test_one_gene_is_drawn_to_scale_on_a_fixed_axis(page: Page) -> None:
    show(page, letters_of(1200), ONE)
    (gene,), (bar,), (clipped,) = shapes(page, "gene"), shapes(page, "bar"), shapes(page, "clipped")
    for shape in (gene, bar):
        assert shape["left"] == pytest.approx(place(page, 100), abs=1.5)
        assert shape["right"] == pytest.approx(place(page, 1000), abs=1.5)
    assert [text for text in texts(page) if re.fullmatch(f"{MINUS}?[036]", text)] == [
        f"{MINUS}6",
        f"{MINUS}3",
        "0",
        "3",
        "6",
    ]
    assert clipped["top"] == pytest.approx(bar["top"], abs=2)
    assert "portal protein" in texts(page)
    zero = height_of(page, "0")
    assert bar["bottom"] == pytest.approx(zero, abs=0.5)
    show(page, letters_of(60_000), genes_of(60_000))
    assert height_of(page, "0") == zero, "the tracks lie where they lay"
    assert page.problems() == []


def test_no_gene(page: Page) -> None:
    letters = letters_of(700, [(300, 400)])
    show(page, letters[:500] + b"N" * 70 + letters[570:], [])
    assert shapes(page, "gene") == shapes(page, "bar") == []
    values = dict(drawn_gc(page))
    at = lambda place: values[min(values, key=lambda base: abs(base - place))]  # noqa: E731
    assert at(350) == pytest.approx(75, abs=12)
    known = letters[570:600]
    assert at(550) == pytest.approx(100 * (known.count(b"G") + known.count(b"C")) / 30, abs=1)
    (run,) = shapes(page, "n")
    assert run["left"] == pytest.approx(place(page, 500), abs=0.5)
    assert "run of N" in texts(page)
    assert page.problems() == []


def test_1800_genes_are_means_of_columns_and_zoom_to_arrows(page: Page) -> None:
    length, genes = 2_000_000, genes_of(2_000_000, 1110)
    assert len(genes) == pytest.approx(1800, rel=0.01)
    show(page, letters_of(length), genes)
    bars = shapes(page, "bar")
    assert 400 < len(bars) < (width(page) - LEFT - RIGHT) / 2 + 2
    assert page.run("return document.querySelectorAll('#contig-plot polygon.gene').length") == 0
    assert not {"portal protein", "terminase large subunit"} & set(texts(page))
    zero, limit = (height_of(page, text) for text in ("0", "6"))
    size = 2 * length / (width(page) - LEFT - RIGHT)
    for bar in bars[100:200]:
        column = round((bar["left"] - LEFT) / 2)
        parts = [
            (min(end, (column + 1) * size) - max(start, column * size), value) for start, end, _, value, _ in genes
        ]
        inside = [(part, value) for part, value in parts if part > 0]
        mean = sum(part * value for part, value in inside) / sum(part for part, _ in inside)
        top_or_bottom = bar["top"] if mean > 0 else bar["bottom"]
        wanted = zero + (limit - zero) * max(-6, min(6, mean)) / 6
        assert top_or_bottom == pytest.approx(wanted, abs=0.6)
    page.run("setView(500_000, 520_000)")
    seen = [gene for gene in genes if gene[0] < 520_000 and gene[1] > 500_000]
    assert page.run("return document.querySelectorAll('#contig-plot polygon.gene').length") == len(seen)
    assert len(shapes(page, "bar")) == len(seen)
    assert {"portal protein", "terminase large subunit"} & set(texts(page))
    assert page.problems() == []


def test_a_button_shows_a_provirus_and_10_kb_around(page: Page) -> None:
    letters = letters_of(5_000_000, [(2_000_000, 2_040_000)])
    show(page, letters, genes_of(5_000_000), [(400_001, 420_000), (2_000_001, 2_040_000), (4_995_001, 5_000_000)])
    coarse = drawn_gc(page)
    buttons = page.run("return [...document.querySelectorAll('#contig-proviruses button')].map(one => one.textContent)")
    assert buttons == ["1: 400,001-420,000", "2: 2,000,001-2,040,000", "3: 4,995,001-5,000,000"]
    assert sum("2,000,001-2,040,000" in text for text in texts(page)) == 1
    page.click("#contig-proviruses button:nth-child(2)")
    assert view(page) == (1_990_000, 2_050_000)
    assert "1,990,001-2,050,000 of 5,000,000 bp" in texts(page)
    (provirus,) = shapes(page, "provirus")
    assert provirus["left"] == pytest.approx(place(page, 2_000_000), abs=0.5)
    assert provirus["right"] == pytest.approx(place(page, 2_040_000), abs=0.5)
    fine = drawn_gc(page)
    inside = [base for base, _ in coarse if 1_990_000 <= base <= 2_050_000]
    assert len(fine) > 5 * len(inside), "zooming computes the curve anew"
    for base, value in fine[1:-1]:
        start = int(base) // 1000 * 1000
        window = letters[start : start + 1000]
        assert value == pytest.approx((window.count(b"G") + window.count(b"C")) / 10, abs=1)
    page.click("#contig-proviruses button:nth-child(3)")
    assert view(page) == (4_985_000, 5_000_000)
    assert page.problems() == []


def test_coordinates_of_many_proviruses_are_in_the_key(page: Page) -> None:
    spans = [(start + 1, start + 20_000) for start in range(10_000, 4_500_000, 150_000)]
    show(page, letters_of(5_000_000), [], spans)
    held = texts(page)
    assert len(shapes(page, "provirus")) == len(spans) == 30
    assert "30: 4,360,001-4,380,000" in held
    assert sum(bool(re.fullmatch(r"\d+: [\d,]+-[\d,]+", text)) for text in held) == 30
    assert {"1", "15", "30"} <= set(held)
    page.run("setView(0, 340_000)")
    assert [text for text in texts(page) if text.startswith(("1: ", "2: ", "3: "))] == [
        f"{number}: {start:,}-{end:,}, tailed phage" for number, (start, end) in reversed([*enumerate(spans, 1)][:3])
    ]


def test_a_row_of_a_provirus_opens_its_contig_there(page: Page) -> None:
    show(page, letters_of(100_000), genes_of(100_000), [(40_001, 50_000)])
    row = {"index": 10_000, "opens": 0, "start": 40_001, "end": 50_000}
    page.run("page.proviruses = [arguments[0]]; page.at = 10_000; openContig(0)", row)
    assert view(page) == (30_000, 60_000)
    page.run("page.at = 0; openContig(0)")
    assert view(page) == (0, 100_000)


def test_a_provirus_over_the_origin_has_two_spans_and_one_label(page: Page) -> None:
    genes = [*genes_of(95_000), (99_500, 100_400, "+", 3.0, "portal protein")]
    show(page, letters_of(100_000), genes, [(96_001, 112_000)], circular=True)
    spans = sorted(shapes(page, "provirus"), key=lambda shape: shape["left"])
    edges = [edge for shape in spans for edge in (shape["left"], shape["right"])]
    assert edges == pytest.approx([place(page, base) for base in (0, 12_000, 96_000, 100_000)], abs=0.5)
    (label,) = (text for text in texts(page) if "96,001-112,000" in text)
    assert attribute(page, label, "x") < place(page, 12_000), "at the longer span"
    page.click("#contig-proviruses button")
    assert len(shapes(page, "provirus")) == 1
    assert "86,001-22,000 of 100,000 bp" in texts(page)
    assert {"90 kb", "0 kb", "100 kb", "10 kb"} & set(texts(page)) == {"90 kb", "100 kb", "10 kb"}
    assert page.problems() == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_saved_svg_holds_what_is_in_view(page: Page, theme: str) -> None:
    genes = [*genes_of(60_000), (10_100, 10_900, "+", 9.0, '<b>tail</b> "fiber" & more')]
    page.run("document.documentElement.dataset.theme = arguments[0]", theme)
    show(page, letters_of(60_000), genes, [(9_001, 14_000)], HOSTILE)
    page.run("setView(8_000, 12_000)")
    path = page.download("#save-svg")
    assert "_8001-12000" in path.name
    root = ET.fromstring(path.read_text())
    held = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert HOSTILE.replace("\x01", "\ufffd") in held
    assert '<b>tail</b> "fiber" & more' in held
    for text in (
        "8,001-12,000 of 60,000 bp",
        "500 bp",
        f"log-odds, {MINUS}6 (cellular) to 6 (viral)",
        "gene and its direction",
    ):
        assert text in held
    assert "bar goes on beyond ±6" in held
    kinds: dict[str, list[ET.Element]] = {}
    for element in root.iter():
        kinds.setdefault(element.get("class", ""), []).append(element)
    assert len(kinds["gene"]) == len(kinds["bar"]) == sum(start < 12_000 and end > 8_000 for start, end, *_ in genes)
    assert len(kinds["scale"]) == len(kinds["band"]) == 1
    assert not kinds.keys() & {"overview"}
    assert "gene_" not in path.read_text(), "no texts of tips"
    assert root[0].get("fill") == "rgb(255, 255, 255)"
    assert kinds["provirus"][0].get("fill") == "rgb(213, 94, 0)"
    size = float(root.get("width", 0))
    for element in kinds["gene"]:
        xs = [float(point.split(",")[0]) for point in element.get("points", "").split()]
        assert min(xs) >= LEFT - 0.01
        assert max(xs) <= size - RIGHT + 0.01
    assert page.run("return window.hacked") is None
    assert page.problems() == []


def test_a_saved_png_is_the_figure_at_twice_its_size(page: Page) -> None:
    show(page, letters_of(60_000), genes_of(60_000), name=HOSTILE)
    height = float(ET.fromstring(page.download("#save-svg").read_text()).get("height", 0))
    with Image.open(page.download("#save-png")) as image:
        assert image.size == (1800, int(2 * height))
        pixels = np.asarray(image.convert("RGB"))
    is_white = (pixels == 255).all(axis=2)
    assert 0.3 < is_white.mean() < 0.95
    assert len(np.unique(pixels[~is_white], axis=0)) > 100


def press(page: Page, key: str) -> tuple[int, int]:
    page.browser.switch_to.active_element.send_keys(key)
    return view(page)


def test_keys(page: Page) -> None:
    show(page, letters_of(100_000), genes_of(100_000))
    assert press(page, "+") == (25_000, 75_000)
    assert press(page, Keys.ARROW_RIGHT) == (35_000, 85_000)
    assert press(page, Keys.ARROW_LEFT) == (25_000, 75_000)
    assert press(page, "+") == (37_500, 62_500)
    assert press(page, "-") == (25_000, 75_000)
    assert press(page, "0") == (0, 100_000)
    assert press(page, Keys.ARROW_LEFT) == (0, 100_000)
    shown = page.run("return page.table.getData('active').map(row => row.opens ?? row.index)")
    shown = list(dict.fromkeys(shown))
    page.run("page.at = arguments[0]; openContig(arguments[0])", shown[1])
    for key, wanted in (
        *((Keys.ARROW_DOWN, 2), (Keys.PAGE_DOWN, 3)),
        *((Keys.PAGE_UP, 2), (Keys.ARROW_UP, 1)),
    ):
        page.browser.switch_to.active_element.send_keys(key)
        page.wait(f"page.open === {shown[wanted]}")
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.wait("!document.querySelector('#contig').open")
    assert page.problems() == []


def test_a_drag_moves_and_the_wheel_zooms(page: Page) -> None:
    show(page, letters_of(100_000), genes_of(100_000))
    page.run("setView(40_000, 60_000)")
    plot = page.run("return document.querySelector('#contig-plot')")
    page.run("arguments[0].scrollIntoView()", plot)
    ActionChains(page.browser).move_to_element(plot).click_and_hold().move_by_offset(-100, 0).release().perform()
    shift = 100 * 20_000 / (width(page) - LEFT - RIGHT)
    assert list(view(page)) == pytest.approx([40_000 + shift, 60_000 + shift], abs=30)
    wheel = """const { left } = arguments[0].getBoundingClientRect();
        const turn = { deltaY: -100, ctrlKey: true, clientX: left + 36, cancelable: true };
        arguments[0].dispatchEvent(new WheelEvent("wheel", turn));"""
    start, end = view(page)
    page.run(wheel, plot)
    assert view(page)[0] == pytest.approx(start, abs=2), "what is under the pointer stays there"
    assert view(page)[1] < end - 1000


def test_tips_are_text(page: Page) -> None:
    show(page, letters_of(2000), [(100, 1900, "+", 1.5, "<img src=x onerror=window.hacked=1>")])
    gene = page.run("return document.querySelector('#contig-plot .gene')")
    ActionChains(page.browser).move_to_element(gene).perform()
    page.wait("!document.querySelector('#contig-tip').hidden")
    tip = page.text("#contig-tip").splitlines()
    assert tip == [
        "<img src=x onerror=window.hacked=1> (0.99)",
        "gene_0: CDS",
        "101 to 1,900 (+), 1,800 bp",
        "score 0.5000, log-odds 1.50",
    ]
    assert page.run("return window.hacked") is None


def test_labels_do_not_touch(path: Path, open_page: Open) -> None:
    """A label that has no room in any line is left out until the figure is zoomed in."""
    page = open_page(path, 800)
    show(page, letters_of(60_000), genes_of(60_000))
    counts = []
    for span in (60_000, 5_000):
        page.run("setView(0, arguments[0])", span)
        script = """return [...document.querySelectorAll("#contig-plot text")].map(one => {
            const { x, y, width, height } = one.getBBox(); return [one.textContent, x, y, width, height]; });"""
        boxes = page.run(script)
        leaders = page.run("return [...document.querySelectorAll('.leader')].map(one => one.getBBox())")
        for (text, left, top, w, h), leader in itertools.product(boxes, leaders):
            beside = not left + 3 < leader["x"] < left + w - 3
            assert beside or leader["y"] >= top + h - 3 or leader["y"] + leader["height"] <= top + 3, text
        counts.append(sum(text in ("portal protein", "terminase large subunit") for text, *_ in boxes))
        for (one, left, top, w1, h1), (other, x, y, w2, h2) in itertools.combinations(boxes, 2):
            apart = left + w1 <= x or x + w2 <= left or top + h1 - 3 <= y or y + h2 - 3 <= top
            assert apart, f"{one} and {other}"
        assert [text for text, left, _, w, _ in boxes if not 0 <= left <= left + w <= width(page)] == []
    seen = sum(start < 5_000 and bool(name) for start, _, _, _, name in genes_of(60_000))
    assert 6 <= counts[0] < sum(bool(name) for *_, name in genes_of(60_000))
    assert counts[1] == seen


def test_a_contig_opens_with_its_genes(page: Page, path: Path) -> None:
    table = calls(path.parent)
    by = ["posterior", "log_odds"]
    likeliest = table[table["fdr"] != ""].astype(dict.fromkeys(by, float)).sort_values(by, ascending=False).iloc[0]
    page.run("openContig(page.rows.findIndex(row => row.id === arguments[0]))", likeliest["contig"])
    genes = pd.read_csv(path.parent / likeliest["sample"] / "genes.tsv", sep="\t", quoting=csv.QUOTE_NONE)
    genes = genes[genes["contig"] == likeliest["contig"]]
    assert page.run("return page.contig.genes.map(g => [g.id, g.strand, g.logOdds])") == (
        genes[["protein", "strand", "log_odds"]].to_numpy().tolist()
    )
    gff3 = page.download("#save-gff3").read_text().splitlines()
    assert gff3[0] == "##gff-version 3"
    folder = path.parent / likeliest["sample"]
    written = [(folder / name).read_text().splitlines() for name in ("genes.gff3", "regions.gff3")]
    assert set(gff3) <= {line for lines in written for line in lines}
    features = [line.split("\t") for line in gff3 if "\tCDS\t" in line]
    assert len(features) == len(genes)
    assert page.run("return page.contig.genes.map(g => [g.start + 1, g.end])") == [
        [int(feature[3]), int(feature[4])] for feature in features
    ]
    assert page.problems() == []


def test_proviruses_of_the_run_are_drawn(page: Page, path: Path) -> None:
    table = calls(path.parent)
    holding = table[table["proviruses"] > 0]
    assert len(holding)
    for name in holding["contig"]:
        page.run("openContig(page.rows.findIndex(row => row.id === arguments[0]))", name)
        assert "1 provirus" in page.text("#contig-facts")
        assert page.text("#contig-proviruses button") == "provirus 101-200"
        (shape,) = shapes(page, "provirus")
        assert shape["left"] == pytest.approx(place(page, 100), abs=0.5)
        assert shape["right"] == pytest.approx(place(page, 200), abs=0.5)


def test_composition_counts_known_bases() -> None:
    found: dict[str, Any] = composition(b"GC" * 60 + b"N" * 30 + b"AT" * 40 + b"R")
    assert found == {"window": 100, "gc": [100, 20, 0], "known": [100, 70, 30], "n": [[120, 150]]}
    assert composition(b"GATC" * 25)["known"] == []
    long = composition(b"G" * 5_000_001)
    assert long["window"] == 1001
    assert sum(long["gc"]) == 5_000_001
