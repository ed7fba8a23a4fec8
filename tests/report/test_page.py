"""The page of a run in Chromium, opened from disk; what it must show is worked out from the tables alone."""

import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.report.browser import Page
from tests.report.conftest import Open
from tests.report.made_run import HOSTILE, SAMPLES, calls, make_run, names, write
from virnucpro.data.files import file_digest
from virnucpro.data.provenance import write_provenance
from virnucpro.data.tables import write_table
from virnucpro.errors import UserError
from virnucpro.pipeline.report import report

VENDOR = ROOT / "virnucpro" / "report" / "page" / "vendor"
SAMPLES_TABLE = "return [...document.querySelectorAll('#samples tbody tr')].map(row => row.innerText.split('\\t'))"


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
    false = (1 - viral["posterior"].astype(float)).sum()
    assert page.text("h1") == (
        f"{len(viral)} viral contigs, {false:.0f} of them expected to be false, "
        f"and {table['proviruses'].sum()} proviruses in 2 samples"
    )
    for call in ("viral", "cellular", "unresolved"):
        assert page.text(f"#count-{call}") == page.text(f"#label-{call}") == f"{(table['call'] == call).sum():,}"
    assert page.text("#expected-false") == f"{false:.1f}"
    shown = page.run(SAMPLES_TABLE)
    for sample, rows in table.groupby("sample"):
        cells = next(row for row in shown if row[0] == sample)
        of_sample = rows[rows["call"] == "viral"]["length"].sort_values(ascending=False)
        n50 = of_sample[of_sample.cumsum() >= of_sample.sum() / 2].iloc[0]
        counts = [str((rows["call"] == call).sum()) for call in ("viral", "unresolved", "cellular")]
        assert cells[2:5] == counts
        assert cells[6:10] == [
            f"{value:,}" for value in (of_sample.sum(), n50, of_sample.max(), rows["proviruses"].sum())
        ]


def test_bars_of_samples_are_to_scale(page: Page, path: Path) -> None:
    table = calls(path.parent)
    script = """const widths = bar => [...bar.children].map(part => part.getBoundingClientRect().width);
        return [...document.querySelectorAll("#samples tbody tr")].map(row =>
          [row.cells[0].textContent, ...[...row.querySelectorAll(".stack")].map(widths)])"""
    bars = {sample: widths for sample, *widths in page.run(script)}
    for at, weights in enumerate((table["length"] * 0 + 1, table["length"])):
        sums = weights.groupby([table["sample"], table["call"]]).sum()
        widest = sum(bars["soil"][at])
        for sample, widths in bars.items():
            parts = [sums[sample, call] / sums["soil"].sum() for call in ("viral", "unresolved", "cellular")]
            assert [width / widest for width in widths[at]] == pytest.approx(parts, abs=0.02)


def test_hostile_ids_are_text(page: Page) -> None:
    assert page.run("return window.hacked") is None
    for label in ("unresolved", "cellular"):
        page.click(f"[name=label][value={label}]")
    for name in HOSTILE:
        page.set("[name=words]", name)
        page.wait("document.querySelectorAll('#table .tabulator-row').length >= 1")
        assert page.text("#table .link") == name
        page.click("#table .tabulator-row")
        page.wait("document.querySelector('#contig').open")
        assert page.text("#contig-name") == name
        page.wait("document.querySelector('#contig-plot svg')")
        page.run("document.querySelector('#contig').close()")
        page.wait("!location.hash")
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("return window.hacked") is None
    assert page.run("return document.querySelectorAll('img').length") == 1, "the picture of the packing"
    assert page.problems() == []


def test_the_file_has_the_likeliest_viruses_without_scripts(path: Path) -> None:
    parsed = Texts(path.read_text())
    lines = [line.split("\t") for line in (path.parent / "viral.tsv").read_text().splitlines()[1:]]
    held = [row for row in parsed.rows if len(row) == 11 and row[0] in ("viral", "provirus")]
    assert {(row[2], row[1], row[8], row[9]) for row in held} == {(row[0], row[2], row[8], row[9]) for row in lines}
    assert [row[8] for row in held] == [row[8] for row in lines]
    assert parsed.tags.count("script") == 4
    assert parsed.tags.count("img") == 1


@pytest.mark.parametrize("count", [0, 1])
def test_few_contigs(count: int, tmp_path: Path, open_page: Open) -> None:
    page = open_page(write(tmp_path, {"soil": names(count)}))
    assert page.problems() == []
    assert page.text("#count-viral") == str((calls(tmp_path)["call"] == "viral").sum()) == str(count)
    assert page.run("return page.table.getDataCount()") == count
    assert page.text("h1").startswith(["0 viral contigs and 0", "1 viral contig, fewer than 1 of"][count])
    assert page.text("h1").endswith("0 proviruses in 1 sample")


def test_a_hundred_thousand_contigs_and_more(tmp_path: Path, open_page: Open) -> None:
    samples = {"soil": names(60_000), "gut": names(40_100)}
    written = write(tmp_path, samples, longest=1500)
    assert written.stat().st_size < 5_000_000
    page = open_page(written)
    assert page.run("return performance.now()") < 10_000, "1.3 s where nothing else runs"
    assert page.problems() == []
    table = calls(tmp_path)
    viral = (table["call"] == "viral").sum()
    assert page.text("h1").startswith(f"{viral:,} viral contigs, ")
    assert page.text("#count-viral") == f"{viral:,}"
    assert 100_000 <= page.run("return page.rows.length") < 100_100
    assert page.run("return page.proviruses.length") == table["proviruses"].sum()
    assert "likeliest of 100,100 contigs" in page.text("#viruses")
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
    """Return what the file says above all else, before any script runs."""
    _, found, after = page.read_text().partition('<section id="notices">')
    texts = re.findall(r"<p>(.*?)</p>", after.partition("</section>")[0]) if found else []
    return [html.unescape(text) for text in texts]


def test_samples_that_are_not_finished_are_named_first(tmp_path: Path) -> None:
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
    """All there are, as a run without calls has them; the FASTA of one sample was replaced since."""
    samples = {f"s{number}": names(3 + number) for number in range(12)}
    fastas = make_run(tmp_path, samples)
    fastas["s3"].write_text(">other\nACGT\n")
    write_provenance(tmp_path / "work" / "s3" / "prepare.json", "prepare", {}, {"fasta": file_digest(fastas["s3"])}, [])
    report(tmp_path, [], list(fastas.values()), earlier=list(samples))
    (notice,) = notices(tmp_path / "report.html")
    assert notice == f"The calls of {', '.join(list(samples)[:10])} and 2 more belong to an earlier run"
    table = calls(tmp_path)
    held = [row for row in Texts((tmp_path / "report.html").read_text()).rows if row[0] in samples and len(row) == 12]
    assert {row[0]: int(row[2]) for row in held} == table.groupby("sample")["call"].agg(
        lambda c: sum(c == "viral")
    ).to_dict()


def test_notices_are_seen_and_no_figure_breaks(tmp_path: Path, open_page: Open) -> None:
    samples = {"soil": names(30), "gut": names(20)}
    fastas = make_run(tmp_path, samples)
    report(tmp_path, [], list(fastas.values()), earlier=list(samples), failed=write_failed(tmp_path))
    page = open_page(tmp_path / "report.html")
    assert page.problems() == []
    assert page.text("h1").startswith(f"{(calls(tmp_path)['call'] == 'viral').sum()} viral contigs, ")
    shown = page.run("return document.querySelector('#notices').innerText").splitlines()
    assert [line for line in shown if line][-1] == "The calls of soil, gut belong to an earlier run"
    box = page.run("const r = document.querySelector('#notices').getBoundingClientRect(); return [r.top, r.height]")
    assert box[0] < 400 and box[1] > 60
