"""The page of a run in Chromium, opened from disk; what it must show is worked out from the tables alone."""

import csv
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.keys import Keys

from tests.conftest import ROOT
from tests.report.browser import Page
from tests.report.conftest import Open
from tests.report.made_run import HOSTILE, SAMPLES, calls, make_run, names, write
from virnucpro.data.provenance import read_provenance, write_provenance
from virnucpro.data.tables import write_table
from virnucpro.errors import UserError
from virnucpro.pipeline.report import report

VENDOR = ROOT / "virnucpro" / "report" / "page" / "vendor"


class Texts(HTMLParser):
    """The cells of all tables as they are in the file, before any script runs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_it_opens_without_an_error_and_needs_no_network(page: Page, path: Path) -> None:
    assert page.problems() == []
    assert (
        page.run("return performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length") == 0
    )
    assert all(address.startswith(("#", "data:")) for address in Texts(path.read_text()).addresses)


def test_counts_are_those_of_the_tables(page: Page, path: Path) -> None:
    table = calls(path.parent)
    viral = table[table["call"] == "viral"]
    assert page.text("h1") == f"{len(viral)} of {len(table)} contigs are viral"
    for call in ("viral", "cellular", "unresolved"):
        assert page.text(f"#count-{call}") == f"{(table['call'] == call).sum():,}"
    assert page.text("#expected-false") == f"{(1 - viral['posterior'].astype(float)).sum():.1f}"
    for sample, rows in table.groupby("sample"):
        shown = page.run(
            "return [...document.querySelectorAll('#verdict tbody tr')].map(r => r.innerText.split('\\t'))"
        )
        cells = next(row for row in shown if row[0] == sample)
        of_sample = rows[rows["call"] == "viral"]["length"].sort_values(ascending=False)
        n50 = of_sample[of_sample.cumsum() >= of_sample.sum() / 2].iloc[0]
        assert cells[1:3] == [str(len(of_sample)), f"{of_sample.sum():,}"]
        assert cells[7:10] == [str(rows["proviruses"].sum()), f"{n50:,}", f"{of_sample.max():,}"]


def test_hostile_ids_are_text(page: Page) -> None:
    assert page.run("return window.hacked") is None
    for name in HOSTILE:
        page.run("page.table.setHeaderFilterValue('id', arguments[0])", name)
        page.wait("document.querySelectorAll('#table .tabulator-row').length === 1")
        assert page.text("#table button.link") == name
        page.click("#table button.link")
        assert page.text("#contig-name") == name
        page.wait("document.querySelector('#contig-plot canvas')")
        page.run("document.querySelector('#contig').close()")
    page.click("#unfilter")
    page.run("document.querySelector('#by-length').scrollIntoView()")
    assert page.run("return contigTip(page.rows.find(r => r.id.startsWith('<img')).index)").startswith("&lt;img")
    assert page.run("return window.hacked") is None
    assert page.run("return document.querySelectorAll('img').length") == 1, "the picture of the packing"
    assert page.problems() == []


def test_a_search_and_filters_find(page: Page, path: Path) -> None:
    table = calls(path.parent)
    wanted = {"id": "NODE_1", "call": "viral", "length": 500}
    found = table[table["contig"].str.contains("NODE_1") & (table["call"] == "viral") & (table["length"] >= 500)]
    assert 0 < len(found) < len(table)
    for field, value in wanted.items():
        page.run("page.table.setHeaderFilterValue(arguments[0], arguments[1])", field, value)
    active = page.run("return page.table.getData('active').map(r => r.id)")
    assert sorted(active) == sorted(found["contig"])


def test_it_sorts(page: Page, path: Path) -> None:
    page.click(".tabulator-col[tabulator-field=length] .tabulator-col-content")
    page.wait("page.table.getSorters().length")
    lengths = page.run("return page.table.getData('active').map(r => r.length)")
    assert lengths == sorted(calls(path.parent)["length"], reverse=True)


def test_a_contig_opens_with_its_genes(page: Page, path: Path) -> None:
    table = calls(path.parent)
    by = ["posterior", "log_odds"]
    likeliest = table[table["fdr"] != ""].astype(dict.fromkeys(by, float)).sort_values(by, ascending=False).iloc[0]
    assert page.text("#table button.link") == likeliest["contig"]
    page.run("document.querySelector('#table button.link').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait("document.querySelector('#contig').open && document.querySelector('#contig-plot canvas')")
    genes = pd.read_csv(path.parent / likeliest["sample"] / "genes.tsv", sep="\t", quoting=csv.QUOTE_NONE)
    genes = genes[genes["contig"] == likeliest["contig"]]
    drawn = page.run(
        "return readFeatures(page.data.drawn[page.open].gff3).map(g => [g.id, g.start, g.end, g.strand, g.logOdds])"
    )
    assert drawn == genes[["protein", "start", "end", "strand", "log_odds"]].to_numpy().tolist()
    svg = page.download("#save-svg").read_text()
    assert svg.startswith("<svg")
    arrows = re.findall(r'<polygon [^>]*ecmeta_series_index="0" ecmeta_data_index="(\d+)"', svg)
    assert sorted(map(int, arrows)) == list(range(len(genes)))
    gff3 = page.download("#save-gff3").read_text().splitlines()
    assert gff3[0] == "##gff-version 3"
    assert set(gff3) <= set((path.parent / likeliest["sample"] / "genes.gff3").read_text().splitlines())
    assert len(gff3) == len(genes) + 2
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.wait("!document.querySelector('#contig').open")
    assert page.problems() == []


def test_a_provirus_is_shaded_where_it_lies(page: Page, path: Path) -> None:
    table = calls(path.parent)
    holding = table[table["proviruses"] > 0]
    assert len(holding)
    for row in holding.itertuples():
        index = page.run("return page.rows.findIndex(r => r.id === arguments[0])", row.contig)
        drawn = page.run("return page.data.drawn[arguments[0]]", index)
        assert drawn["regions"] == [[100, 200]]
        page.run("openContig(arguments[0])", index)
        page.wait("document.querySelector('#contig-plot canvas')")
        assert "1 provirus" in page.text("#contig-facts")
        shaded = page.run(
            "return contigOption(page.rows[page.open], page.data.drawn[page.open]).option.series[0].markArea.data"
        )
        assert shaded == [[{"xAxis": 100}, {"xAxis": 200}]]
        held = [line for line in drawn["gff3"].splitlines() if "proviral_region" in line]
        assert held[0].split("\t")[3:5] == ["101", "200"]
        page.run("document.querySelector('#contig').close()")
    assert page.problems() == []


def test_an_outline_on_the_map_filters_the_table(page: Page, path: Path) -> None:
    placed = page.run("return page.data.map")
    table = calls(path.parent)
    assert len(placed["rows"]) == (table["genes"] > 0).sum()
    ordered = np.sort(placed["x"])[30:-30]
    widest = np.diff(ordered).argmax()
    middle = float(ordered[widest : widest + 2].mean())  # no point within a pixel of it
    inside = sorted(row for row, x in zip(placed["rows"], placed["x"], strict=True) if x > middle)
    page.run(
        """const chart = echarts.getInstanceByDom(document.querySelector("#map"));
        const coordRange = [[arguments[0], 1e6], [-1e6, 1e6]];
        const area = { brushType: "rect", coordRange, xAxisIndex: 0, yAxisIndex: 0 };
        chart.dispatchAction({ type: "brush", areas: [area] });""",
        middle,
    )
    page.wait("page.chosen")
    assert sorted(page.run("return page.table.getData('active').map(r => r.index)")) == inside
    page.click("#unfilter")
    assert page.run("return page.table.getDataCount('active')") == len(table)
    assert page.problems() == []


def test_the_file_has_the_likeliest_contigs_without_scripts(path: Path) -> None:
    parsed = Texts(path.read_text())
    table = calls(path.parent)
    by = ["posterior", "log_odds"]
    table = table[table["fdr"] != ""].astype(dict.fromkeys(by, float)).sort_values(by, ascending=False, kind="stable")
    held = [row[0] for row in parsed.rows if len(row) == 13 and row[2] in ("viral", "cellular", "unresolved")]
    assert held[:50] == table["contig"].tolist()[:50]
    assert parsed.tags.count("script") == 4
    assert parsed.tags.count("img") == 1


@pytest.mark.parametrize("count", [0, 1])
def test_few_contigs(count: int, tmp_path: Path, open_page: Open) -> None:
    page = open_page(write(tmp_path, {"soil": names(count)}))
    assert page.problems() == []
    assert page.text("#count-viral") == str((calls(tmp_path)["call"] == "viral").sum()) == str(count)
    assert page.run("return page.table.getData().length") == count


def test_fifty_thousand_contigs_and_more(tmp_path: Path, open_page: Open) -> None:
    samples = {"soil": names(30_000), "gut": names(20_100)}
    written = write(tmp_path, samples, longest=1500)
    assert written.stat().st_size < 5_000_000
    page = open_page(written)
    assert page.problems() == []
    table = calls(tmp_path)
    viral = (table["call"] == "viral").sum()
    assert page.text("h1") == f"{viral:,} of 50,100 contigs are viral"
    assert page.text("#count-viral") == f"{viral:,}"
    assert page.run("return page.table.getDataCount()") == 50_000
    assert "The likeliest 50,000 of 50,100 contigs" in page.text("#contigs")
    assert page.run("return Object.keys(page.data.drawn).length") == 500
    page.run("openContig(499)")
    assert page.run("return document.querySelector('#contig-missing').hidden")
    page.run("openContig(500)")
    assert not page.run("return document.querySelector('#contig-missing').hidden")


def test_the_libraries_are_those_that_their_table_names() -> None:
    digests = dict(re.findall(r"^\| (\S+) \|.* ([0-9a-f]{64}) \|$", (VENDOR / "README.md").read_text(), re.M))
    files = {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")}
    assert digests == {name: hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() for name in files}


def test_the_same_run_gives_the_same_page(path: Path) -> None:
    before = path.read_bytes()
    fastas = [path.parent / f"{sample}.fa" for sample in SAMPLES]
    report(path.parent, list(SAMPLES), fastas)
    assert path.read_bytes() == before


def test_another_fasta_is_refused_and_nothing_written(tmp_path: Path) -> None:
    fastas = make_run(tmp_path, {"soil": names(5)})
    fastas["soil"].write_text(">NODE_1\nACGT\n")
    with pytest.raises(
        UserError, match=r"soil.fa: no contig NODE_\S+, which contigs.tsv has; run the call stage again"
    ):
        report(tmp_path, ["soil"], list(fastas.values()))
    assert not (tmp_path / "report.html").exists()


def write_failed(folder: Path) -> Path:
    rows = [("sea", "prepare", "sea.fa: line 3: <b>'Q'</b> is no IUPAC nucleotide code"), ("sand", "", "not finished")]
    write_table(pd.DataFrame(rows, columns=["sample", "stage", "reason"]), folder / "work" / "failed.tsv")
    return folder / "work" / "failed.tsv"


def notices(page: Path) -> list[str]:
    """Return what the file says above the verdict, before any script runs."""
    _, found, after = page.read_text().partition('<section id="notices">')
    texts = re.findall(r"<p>(.*?)</p>", after.partition("</section>")[0]) if found else []
    return [html.unescape(text) for text in texts]


def test_samples_that_are_not_finished_are_named_above_the_verdict(tmp_path: Path) -> None:
    fastas = make_run(tmp_path, {"soil": names(5)})
    report(tmp_path, ["soil"], list(fastas.values()))
    assert notices(tmp_path / "report.html") == []
    assert (tmp_path / "work" / "report.json").exists()
    report(tmp_path, ["soil"], list(fastas.values()), failed=write_failed(tmp_path))
    assert notices(tmp_path / "report.html") == [
        "Not finished: sea (prepare): sea.fa: line 3: <b>'Q'</b> is no IUPAC nucleotide code",
        "Not finished: sand",
    ]
    assert "<b>'Q'" not in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "work" / "report.json").exists(), "the workflow writes the page again"


def test_calls_of_an_earlier_run_are_said_to_be(tmp_path: Path) -> None:
    """All there are, as a run without calls has them; its embeddings of one sample are others than were called."""
    samples = {f"s{number}": names(3 + number) for number in range(12)}
    fastas = make_run(tmp_path, samples)
    merged = tmp_path / "work" / "s3" / "merge.json"
    with h5py.File(tmp_path / "s3" / "embeddings.h5", "a") as file:
        file["embedding"][...] = 0
    found = read_provenance(merged, "merge")
    write_provenance(merged, "merge", {}, {}, [tmp_path / "s3" / "embeddings.h5"], found.details)
    report(tmp_path, [], list(fastas.values()), earlier=list(samples))
    (notice,) = notices(tmp_path / "report.html")
    assert notice == f"The calls of {', '.join(list(samples)[:10])} and 2 more belong to an earlier run"
    table = calls(tmp_path)
    held = [row for row in Texts((tmp_path / "report.html").read_text()).rows if row[0] in samples and len(row) == 12]
    assert {row[0]: int(row[1]) for row in held} == table.groupby("sample")["call"].agg(
        lambda c: sum(c == "viral")
    ).to_dict()


def test_notices_are_seen_and_no_figure_breaks(tmp_path: Path, open_page: Open) -> None:
    samples = {"soil": names(30), "gut": names(20)}
    fastas = make_run(tmp_path, samples)
    report(tmp_path, [], list(fastas.values()), earlier=list(samples), failed=write_failed(tmp_path))
    page = open_page(tmp_path / "report.html")
    assert page.problems() == []
    assert page.text("h1") == f"{(calls(tmp_path)['call'] == 'viral').sum()} of 50 contigs are viral"
    shown = page.run("return document.querySelector('#notices').innerText").splitlines()
    assert [line for line in shown if line][-1] == "The calls of soil, gut belong to an earlier run"
    box = page.run("const r = document.querySelector('#notices').getBoundingClientRect(); return [r.top, r.height]")
    assert box[0] < 400 and box[1] > 60
