"""The page calls contigs as the tables do, and as Python does with other settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.report.browser import Page
from tests.report.conftest import Open
from tests.report.made_run import MAX_FDR, REQUIREMENTS, calls, names, write
from virnucpro.calling.calls import label_contigs
from virnucpro.data.provenance import read_provenance


def test_every_row_has_the_call_posterior_and_fdr_of_the_tables(page: Page, path: Path) -> None:
    digits = "const text = value => value === null ? '' : value.toFixed(4)"
    row = "[r.sample, r.id, CALLS[r.call], r.reason, r.length, text(r.posterior), text(r.fdr)]"
    rows = page.run(f"{digits}; return page.rows.map(r => {row})")
    table = calls(path.parent)[["sample", "contig", "call", "reason", "length", "posterior", "fdr"]]
    assert set(table["reason"]) >= {"", "no open reading frame", "shorter than tested: 500 bases"}
    assert {"between viral and cellular", f"fdr over {MAX_FDR}"} & set(table["reason"])
    assert sorted(map(tuple, rows)) == sorted(table.itertuples(index=False, name=None))


def test_the_share_of_each_sample_is_shown(page: Page, path: Path) -> None:
    share = read_provenance(path.parent / "work" / "soil" / "call.json", "call").details["share"]
    low, value, high = (f"{100 * share[end]:.1f}" for end in ("low", "value", "high"))
    shown = page.run("return [...document.querySelectorAll('#samples tbody tr')].map(r => r.cells[10].textContent)")
    assert shown == [f"{value} % ({low} to {high} %)", "10.0 % (default)"]
    assert page.text("#shares") == f"soil {value} % ({low} % to {high} %, estimated), gut 10.0 % (default)"


def test_what_the_classifier_reaches_at_lengths_of_the_run(page: Page, path: Path) -> None:
    rows = "[...document.querySelectorAll(`${arguments[0]} tbody tr`)]"
    script = f"return {rows}.map(r => r.innerText.split(/\\s*[\\t\\n]\\s*/))"
    rates = ["80.0 % (79.0 to 81.0 %)", "6.0 % (5.0 to 7.0 %)", "200", "2.0 % (1.0 to 3.0 %)", "10.0 % (9.0 to 11.0 %)"]
    cells = " ".join(["300", *rates, "0.970"])
    lengths = calls(path.parent)["length"]
    count = ((lengths >= 500) & (lengths < 1500)).sum()
    reached, kinds, shares = (page.run(script, f"#accuracy .{name}") for name in ("reached", "kinds", "shares"))
    assert [" ".join(row) for row in reached] == [
        f"0.5 to 1.5 kb {count} test {cells}",
        f"all {len(lengths)} cross-validation {cells}",
        f"all {len(lengths)} test {cells}",
    ]
    assert f"{(lengths < 500).sum()} contigs of this run are shorter" in page.text("#accuracy")
    assert kinds == [["phage", "300", "240", "18", "42"]]
    assert shares == [["5.0 %", "6.0 %", "5.0 %", "4.0 %", "70.0 %"]]


def test_lengths_that_do_not_occur_are_left_out(tmp_path: Path) -> None:
    text = write(tmp_path, {"soil": names(20)}, longest=480).read_text()
    assert "0.5 to 1.5 kb" not in text
    assert "<th>all</th>" in text


def test_the_histogram_counts_all_scores(page: Page, path: Path) -> None:
    table = calls(path.parent)
    table = table[table["log_odds"] != ""].assign(log_odds=lambda rows: rows["log_odds"].astype(float))
    counts = page.run("return binScores(page.rows)")
    edges = np.arange(-7, 7.5, 0.5)
    for call, found in counts.items():
        scores = table.loc[table["call"] == call, "log_odds"].clip(-7, 6.99)
        assert found == np.histogram(scores, edges)[0].tolist()
    drawn = page.run("return [...document.querySelectorAll('#histogram rect:not(.range)')].map(r => r.textContent)")
    assert sum(int(text.split()[0].replace(",", "")) for text in drawn) == len(table)
    tallest = max(sum(found[at] for found in counts.values()) for at in range(28))
    boxes = page.run("return [...document.querySelectorAll('#histogram rect:not(.range)')].map(r => r.y.baseVal.value)")
    steps = page.run("return stepsTo(arguments[0])", tallest)
    assert min(boxes) == pytest.approx(286 - tallest / steps[-1] * 246, abs=0.1)


def test_one_genome_does_not_set_the_axis(page: Page) -> None:
    page.run("Object.assign(page.rows.at(-1), { logOdds: -70, length: 1e7 }); drawScores()")
    left = page.run("return [...document.querySelectorAll('#histogram rect')].map(r => r.x.baseVal.value)")
    assert 58 <= min(left) < 60


@pytest.mark.parametrize(("highest", "steps"), [(1, [0, 1]), (7, list(range(8))), (34, [0, 10, 20, 30, 40])])
def test_steps_of_the_axis(highest: int, steps: list[int], page: Page) -> None:
    assert page.run("return stepsTo(arguments[0])", highest) == steps


def test_both_thresholds_are_drawn(page: Page, path: Path) -> None:
    table = calls(path.parent)
    lowest = table[table["call"] == "viral"].astype({"log_odds": float}).groupby("sample")["log_odds"].min()
    found = page.run("return limits(page.data.samples)")
    assert found == {"viral": [lowest.min(), lowest.max()], "cellular": [-1, 0.5]}
    paths = "[...document.querySelectorAll('#histogram .limit')]"
    lines = page.run(f"return {paths}.map(l => [l.classList[0], parseFloat(l.getAttribute('d').slice(1))])")
    width = page.run("return document.querySelector('#histogram svg').viewBox.baseVal.width")
    at = {name: [58 + (limit + 7) / 14 * (width - 72) for limit in limits] for name, limits in found.items()}
    for name in at:
        assert [x for call, x in lines if call == name] == pytest.approx(at[name], abs=0.1)
    page.set("#max-fdr", "1")
    assert page.run("return limits(page.data.samples)")["viral"][0] > found["viral"][0]
    text = page.text("#limits")
    assert text.endswith("They are called cellular up to 0.27 to 0.62, depending on the length.")


@pytest.mark.parametrize(
    ("prior", "fdr", "shortest"),
    [(None, 1, 0), (None, 5, 800), (None, 5, 2500), (0.02, 10, 0), (0.3, 2.5, 1500), (0.9, 5, 0)],
)
def test_it_calls_as_python_does(prior: float | None, fdr: float, shortest: int, page: Page, path: Path) -> None:
    page.set("#max-fdr", fdr)
    page.set("#min-length", shortest)
    if prior:
        page.set("#prior", prior)
    expected, viral = {}, []
    for sample, table in calls(path.parent).groupby("sample"):
        called = table[(table["fdr"] != "") & (table["length"] >= shortest)]
        columns = called[["log_odds", "length"]].astype(float)
        labels, _ = label_contigs(REQUIREMENTS, columns, prior, fdr / 100)
        for name, *values in labels.assign(contig=called["contig"])[["contig", *labels]].itertuples(index=False):
            expected[f"{sample} {name}"] = values
        viral += [f"{sample}|{name}" for name in called["contig"][labels["call"] == "viral"]]
    rows = page.run(
        "return page.rows.map(r => [`${r.sample} ${r.id}`, r.posterior, r.fdr, CALLS[r.call], r.reason])",
    )
    found = {name: values for name, *values in rows if values[0] is not None}
    assert found.keys() == expected.keys()
    for name, (posterior, rate, call, reason) in expected.items():
        assert found[name] == [pytest.approx(posterior, abs=1e-9), pytest.approx(rate, abs=1e-9), call, reason]
    others = {(call, reason != "") for _, posterior, _, call, reason in rows if posterior is None}
    assert others == {("unresolved", True)}
    assert page.text("#count-viral") == str(len(viral))
    page.click("[name=label][value=provirus]")
    saved = [line.split("\t") for line in page.download("[data-save=tsv]").read_text().splitlines()[1:]]
    assert sorted(cells[1] for cells in saved) == sorted(viral)


def test_controls_and_the_way_back(page: Page, path: Path) -> None:
    before = page.run("return page.rows.map(r => [r.posterior, r.fdr, r.call])")
    page.click("[data-fdr='20']")
    assert page.run("return page.settings") == {"prior": None, "maxFdr": 0.2, "minLength": None}
    assert page.run("return document.querySelector('[aria-pressed=true]').dataset.fdr") == "20"
    page.set("#prior-slider", -3)
    assert page.run("return page.settings.prior") == pytest.approx(1 / (1 + np.exp(3)), rel=0.01)
    assert page.run("return document.querySelector('[name=share]:checked').value") == "one"
    assert page.run("return page.rows.map(r => [r.posterior, r.fdr, r.call])") != before
    page.click("[name=share][value=each]")
    assert page.run("return page.settings.prior") is None
    page.click("#reset")
    assert page.run("return page.rows.map(r => [r.posterior, r.fdr, r.call])") == before
    assert page.problems() == []


def test_calls_by_a_published_classifier(tmp_path: Path, open_page: Open) -> None:
    published = replace(REQUIREMENTS, cellular_to=((0, -0.619),), fewest_residues=1, is_published=True)
    page = open_page(write(tmp_path, {"soil": names(60)}, requirements=published))
    assert page.problems() == []
    table = calls(tmp_path)
    assert set(table["posterior"]) == set(table["fdr"]) == {""}
    rows = page.run("return page.rows.map(r => [r.id, CALLS[r.call], r.reason, r.posterior, r.fdr])")
    expected = table[["contig", "call", "reason"]].assign(posterior=None, fdr=None)
    assert sorted(rows) == sorted(expected.to_numpy().tolist())
    assert page.text("#count-viral") == str((table["call"] == "viral").sum()) != "0"
    assert page.run("return document.querySelector('#prior, #max-fdr, #shares, #expected-false')") is None
    assert "false discovery" not in page.text("body > main")
    page.set("#min-length", 2000)
    assert page.text("#count-viral") == str(((table["call"] == "viral") & (table["length"] >= 2000)).sum())
    page.run("openContig(0)")
    assert "posterior" not in page.text("#contig-facts")
