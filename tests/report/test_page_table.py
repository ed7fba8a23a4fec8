"""The table of viruses in Chromium: what it shows, what is saved of it, keys, addresses, phones and paper."""

import gzip
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.calling.test_odd_names import ODD, QUOTED
from tests.report.browser import Page
from tests.report.conftest import Open
from tests.report.made_run import HOSTILE, SAMPLES, calls, names, write
from virnucpro.calling.result_files import encode
from virnucpro.report import contigs

ROWS = "return shownRows().map(row => [row.label, row.sample, row.id, row.length])"
COLUMNS = ["label", "sample", "contig", "length"]
HOLDER = "document.querySelector('#table .tabulator-tableholder')"


def shown(page: Page) -> list[list[Any]]:
    return sorted(page.run(ROWS))


def lines_of(path: Path, name: str) -> list[str]:
    found = path.parent / name
    return (gzip.open(found, "rt").read() if name.endswith(".gz") else found.read_text()).splitlines()


def press(page: Page, *keys: str) -> None:
    ActionChains(page.browser).send_keys(*keys).perform()


def current(page: Page) -> Any:
    return page.run("return document.querySelector('#table .current .link')?.textContent")


def test_viruses_and_proviruses_are_shown_first(page: Page, path: Path) -> None:
    viral = [line.split("\t") for line in lines_of(path, "viral.tsv")[1:]]
    labels = {True: "provirus", False: "viral"}
    expected = [[labels[cells[6] == "provirus"], cells[0], cells[2], int(cells[5])] for cells in viral]
    assert page.run(ROWS) == expected
    assert page.text("#shown").strip() == f"{len(viral)} rows shown."
    assert page.text("#label-provirus") == str(sum(cells[6] == "provirus" for cells in viral))


def test_labels_show_other_contigs(page: Page, path: Path) -> None:
    table = calls(path.parent)
    for box in ("viral", "provirus", "cellular"):
        page.click(f"[name=label][value={box}]")
    cellular = table[table["call"] == "cellular"].assign(label="cellular")
    assert shown(page) == sorted(cellular[COLUMNS].to_numpy().tolist())


def test_filters(page: Page, path: Path) -> None:
    table = calls(path.parent)
    for label in ("unresolved", "cellular"):
        page.click(f"[name=label][value={label}]")
    page.click("[name=label][value=provirus]")
    numbers = table[table["fdr"] != ""].astype({"score": float, "fdr": float})
    page.set("[name=minLength]", 1000)
    page.set("[name=minScore]", 0.2)
    page.set("[name=maxFdr]", 0.4)
    page.set("[name=words]", "node_1")
    page.set("[name=sample]", "soil")
    found = numbers[(numbers["length"] >= 1000) & (numbers["score"] >= 0.2) & (numbers["fdr"] <= 0.4)]
    found = found[(found["sample"] == "soil") & found["contig"].str.contains("NODE_1")]
    assert 0 < len(found) < len(table)
    assert shown(page) == sorted(found.assign(label=found["call"])[COLUMNS].to_numpy().tolist())
    page.click("#unfilter")
    assert len(page.run(ROWS)) == len(lines_of(path, "viral.tsv")) - 1


def test_it_sorts_by_headers_and_by_the_list(page: Page) -> None:
    page.click(".tabulator-col[tabulator-field=length] .tabulator-col-content")
    page.wait("page.table.getSorters().length")
    lengths = [row[3] for row in page.run(ROWS)]
    assert lengths == sorted(lengths, reverse=True)
    page.set("#sort", "contig")
    numbers = [int(row[2].split("_")[1]) for row in page.run(ROWS) if row[2].startswith("NODE")]
    assert numbers == sorted(numbers), "names with numbers by these"


def test_what_is_shown_is_saved(page: Page, path: Path) -> None:
    assert page.download("[data-save=tsv]").read_text().splitlines() == lines_of(path, "viral.tsv")
    fasta = page.download("[data-save=fasta]").read_text().splitlines()
    assert max(map(len, fasta[1::2])) <= 60
    assert "".join(fasta).split(">") == "".join(lines_of(path, "viral.fasta.gz")).split(">")
    bed = [line.split("\t") for line in page.download("[data-save=bed]").read_text().splitlines()]
    expected = [line.split("\t") for line in lines_of(path, "viral.tsv")[1:]]
    assert [[int(start) + 1, int(end), name] for _, start, end, name, _, _ in bed] == [
        [int(cells[3]), int(cells[4]), cells[1]] for cells in expected
    ]
    assert [int(score) for *_, score, _ in bed] == pytest.approx(
        [1000 * float(cells[8]) for cells in expected], abs=0.51
    )
    page.click("[name=label][value=viral]")
    saved = page.download("[data-save=tsv]").read_text().splitlines()[1:]
    assert saved == [line for line in lines_of(path, "viral.tsv") if "\tprovirus\t" in line]


def test_bed_cuts_a_region_at_the_origin_and_escapes_names(page: Page) -> None:
    row = {"id": "a b;c", "start": 4001, "end": 5500, "name": "s|x", "score": 0.9126, "host": {"length": 5000}}
    assert page.run("return bedLines(arguments[0])", row) == [
        "a%20b%3Bc\t4000\t5000\ts|x\t913\t.\n",
        "a%20b%3Bc\t0\t500\ts|x\t913\t.\n",
    ]
    assert page.run("return arguments[0].map(encode)", [*ODD, *QUOTED]) == [encode(name) for name in [*ODD, *QUOTED]]


def test_sequences_that_are_too_many_are_left_to_samtools(
    tmp_path: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contigs, "MOST_BASES", 1000)
    page = open_page(write(tmp_path, SAMPLES))
    assert page.run("return document.querySelector('[data-save=fasta]')") is None
    assert "samtools faidx -r names.txt viral.fasta.gz" in page.text("#viruses")
    page.click("[name=label][value=unresolved]")
    saved = page.download("[data-save=names]").read_text().splitlines()
    stored = [line[1:].split()[0] for line in lines_of(tmp_path / "report.html", "viral.fasta.gz") if line[0] == ">"]
    assert saved == stored
    unresolved = (calls(tmp_path)["call"] == "unresolved").sum()
    assert page.text("#saved") == f"{unresolved} of these are not in viral.fasta.gz."


def test_keys_move_in_the_table_and_open(page: Page) -> None:
    ids = [row[2] for row in page.run(ROWS)]
    focusable = "[...document.querySelectorAll('#table, #table *')].filter(one => one.tabIndex >= 0)"
    assert page.run(f"return {focusable}.length") == 1
    page.run("document.querySelector('#unfilter').focus()")
    press(page, Keys.TAB)
    assert page.run(f"return document.activeElement === {HOLDER}")
    for key, at in ((Keys.ARROW_DOWN, 0), (Keys.ARROW_DOWN, 1), (Keys.ARROW_UP, 0), (Keys.END, -1), (Keys.HOME, 0)):
        press(page, key)
        page.wait(f"document.querySelector('#table .current .link')?.textContent === {ids[at]!r}")
        assert page.run(
            f"return {HOLDER}.getAttribute('aria-activedescendant') === document.querySelector('.current').id"
        )
    press(page, Keys.PAGE_DOWN)
    assert current(page) == ids[12]
    press(page, Keys.ENTER)
    page.wait("document.querySelector('#contig').open")
    assert page.text("#contig-name") == ids[12]
    page.click("#after")
    page.wait(f"document.querySelector('#contig-name').textContent === {ids[13]!r}")
    press(page, Keys.ESCAPE)
    page.wait("!document.querySelector('#contig').open")
    assert page.run(f"return document.activeElement === {HOLDER}")
    assert current(page) == ids[13]
    press(page, Keys.TAB)
    assert page.run("return document.activeElement.dataset.save") == "tsv", "one tab stop"


@pytest.mark.parametrize("name", [HOSTILE[0], HOSTILE[4], HOSTILE[5], "k7"])
def test_a_contig_has_an_address(name: str, page: Page, path: Path) -> None:
    address = f"#contig=gut/{quote(name, safe='')}"
    page.browser.get("about:blank")
    page.browser.get(path.absolute().as_uri() + address)
    page.wait("document.body.dataset.ready && document.querySelector('#contig').open")
    assert page.text("#contig-name") == name
    page.run("document.querySelector('#contig').close()")
    page.wait("!location.hash")
    page.run("show(page.rows.find(row => row.id === arguments[0]))", name)
    page.wait("document.querySelector('#contig').open")
    assert page.run("return location.hash.replace(/%../g, code => code.toUpperCase())") == address
    page.run("location.hash = '#contig=soil/NODE_1_length_x_cov_91.9'")
    page.wait("document.querySelector('#contig-name').textContent.startsWith('NODE_1_')")
    page.browser.back()
    page.wait(f"document.querySelector('#contig-name').textContent === {name!r}")
    page.run("location.hash = '#contig=soil/%E0%A4%A'")
    page.wait("!document.querySelector('#contig').open")
    assert page.problems() == []


def test_a_provirus_is_hidden_while_its_contig_is_viral(page: Page) -> None:
    hosts = page.run("return page.proviruses.map(row => row.host.logOdds)")
    page.set("#max-fdr", 99)
    page.set("#prior", 0.99)
    still = page.run("return page.proviruses.filter(row => row.host.call !== 0).length")
    assert still < len(hosts)
    assert page.text("#label-provirus") == str(still)
    assert sum(row[0] == "provirus" for row in page.run(ROWS)) == still


def test_a_phone_shows_label_score_length_and_taxon(path: Path, open_page: Open) -> None:
    page = open_page(path)
    device = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    try:
        page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
        page.browser.refresh()
        page.wait("document.body.dataset.ready")
        assert page.run("return document.documentElement.scrollWidth") == 390
        columns = "[...document.querySelectorAll('#table .tabulator-col')].filter(c => c.offsetWidth)"
        assert page.run(f"return {columns}.map(c => c.innerText.trim())") == ["contig", "length", "taxon", "score"]
        assert page.run("return document.querySelector('#table .link + .call').offsetWidth") > 20
        assert max(page.run(f"return {columns}.map(c => c.getBoundingClientRect().right)")) <= 390
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_cut_at_1400_px(page: Page) -> None:
    cut = """[...document.querySelectorAll(arguments[0])].filter(e => e.offsetWidth && e.scrollWidth > e.clientWidth)
        .map(e => e.innerText)"""
    for selector in (".wide", ".tabulator-col-title", "#table .tabulator-cell[style*=right]"):
        assert page.run(f"return {cut}", selector) == []


def test_paper_lists_all_viruses_and_proviruses(path: Path, tmp_path: Path, open_page: Open) -> None:
    page = open_page(write(tmp_path, {"soil": names(700)}))
    count = len(lines_of(tmp_path / "report.html", "viral.tsv")) - 1
    assert count > 150
    counting = "window.printed = document.querySelectorAll('#plain tbody tr').length"
    page.run(f"addEventListener('afterprint', () => ({counting}))")
    page.browser.execute_cdp_cmd("Page.printToPDF", {})
    page.wait("window.printed")
    assert page.run("return window.printed") == count
    try:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        page.browser.set_window_size(720, 1000)
        assert page.run("return document.querySelector('#plain').offsetHeight") > 1000
        assert page.run("return document.querySelector('#table').offsetHeight") == 0
        wide = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        assert page.run(f"return {wide}.map(e => e.outerHTML.slice(0, 90))") == []
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_theme_can_be_changed(page: Page) -> None:
    script = "return getComputedStyle(document.querySelector('#table .tabulator-row')).backgroundColor"
    before = page.run(script)
    page.click("#theme")
    assert page.run(script) != before
    page.click("#theme")
    assert page.run(script) == before
