"""README and docs: their links, their size, and tables of figures that equal the files they were measured in."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LENGTHS = ["0.5 to 1.5 kb", "1.5 to 3 kb", "3 to 10 kb", "from 10 kb"]
PROGRAMS = {"virnucpro": "virnucpro", "geNomad": "geNomad's network alone", "Jaeger": "Jaeger"}


def tables(path: Path) -> Iterator[list[list[str]]]:
    """Yield the rows of every table of a Markdown file, without its header, as cells."""
    for block in re.findall(r"(?:^\|.*\n)+", path.read_text(), re.MULTILINE):
        yield [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()[2:]]


def result(name: str, number: int = 0) -> list[list[str]]:
    """Return the rows of a table of benchmarks/results."""
    return list(tables(RESULTS / f"{name}.md"))[number]


def share(text: str) -> str:
    """Return a percentage without its interval and decimals: `59.8 (52.6 to 67.5) %` is `60 %`."""
    return f"{float(text.split()[0]):.0f} %"


def calls_of_the_readme() -> list[list[str]]:
    """Return AUROC and viruses found at 1.7 % false, by length and program."""
    of = {(row[0], row[1]): row for row in result("calls")}
    return [
        [length, *(cell for name in PROGRAMS for cell in (of[length, name][4].split()[0], share(of[length, name][8])))]
        for length in LENGTHS
    ]


def calls() -> list[list[str]]:
    return [
        [row[0], row[2], row[3], PROGRAMS[row[1]], row[4], row[5], row[6], row[8], row[9].replace("+", "")]
        for row in result("calls")
    ]


def costs() -> list[list[str]]:
    """Return CPU seconds, speed, memory, disk and AUROC of the programs on contigs, a tenth of them viral."""
    return [[row[0], *row[3:9]] for row in result("finders") if row[1].endswith("10% viral") and "none" not in row[0]]


def speeds(name: str, programs: list[str], best: list[str], of_products: list[str]) -> list[list[str]]:
    """Return tokens/s by model and kind, then speed-ups over the best peer, then shares of the bare products."""
    of = {(row[0], row[1], row[2]): row for row in result(name)}
    groups = dict.fromkeys((row[0], row[1]) for row in result(name))
    return [
        [size, f"{kind}s"]
        + [of[size, kind, program][3] for program in programs]
        + [of[size, kind, program][4] for program in best]
        + [of[size, kind, program][5] for program in of_products]
        for size, kind in groups
    ]


def embedding() -> list[list[str]]:
    own = ["virnucpro FP32", "virnucpro BF16"]
    peers = ["fair-esm FP32", "transformers FP32", "esm-cpp FP32", "esm-cpp INT8"]
    return speeds("embedding", [*peers, *own], own, own[:1])


def embedding_on_a_gpu() -> list[list[str]]:
    own = ["virnucpro BF16, whole engine", "virnucpro BF16, compiled, whole engine"]
    peers = ["fair-esm FP16", "transformers FP16"]
    return speeds("gpu_NVIDIA_H100_80GB_HBM3", [*peers, *own], own, own[1:])


def packing() -> list[list[str]]:
    rows = [row for row in result("packing_efficiency") if row[1] == "4,096"]
    return [[f"{row[0]}s", *row[2:6], row[7]] for row in rows]


def functions() -> list[list[str]]:
    with (ROOT / "docs" / "names" / "measured_functions.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if float(row["named"])]
    rows.sort(key=lambda row: -float(row["named"]))
    counts = [[row["category"], row["proteins"], row["clusters"]] for row in rows]
    shares = [[f"{100 * float(row['named']):.0f} %", f"{100 * float(row['right']):.1f} %"] for row in rows]
    return [[*left, *right] for left, right in zip(counts, shares, strict=True)]


def taxa() -> list[list[str]]:
    with (ROOT / "docs" / "names" / "measured_taxa.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    lowest = {"species": "genus", "genus": "family", "unit": "class"}
    ranks = ["realm", "class", "family", "genus"]
    return [
        [
            f"own {row['held_out'].replace('unit', 'family')}",
            *(row[name] for name in ("length", "rank", "fragments")),
            *(f"{100 * float(row[name]):.1f} %" for name in ("stated", "right")),
        ]
        for row in rows
        if row["rank"] in ranks[: ranks.index(lowest[row["held_out"]]) + 1]
    ]


def accuracy() -> list[list[str]]:
    metrics = json.loads((ROOT / "docs" / "classifier" / "metrics.json").read_text())

    def cell(one: dict[str, float], form: str) -> str:
        return f"{{value:{form}}} ({{low:{form}}} to {{high:{form}}})".format_map(one)

    return [
        [name, *(str(one[count]) for count in ("groups", "viral", "cellular")), cell(one["auroc"], ".3f")]
        + [cell(one[kind], ".1%") for kind in ("found", "lost", "false", "unresolved")]
        + [f"{one['found_at']['0.017']:.1%}"]
        for name, one in metrics.items()
        if isinstance(one, dict) and "auroc" in one
    ]


@pytest.mark.parametrize(
    ("page", "rows"),
    [
        ("README.md", calls_of_the_readme),
        ("README.md", costs),
        ("docs/benchmarks.md", lambda: result("finders")),
        ("docs/benchmarks.md", calls),
        ("docs/benchmarks.md", embedding),
        ("docs/benchmarks.md", embedding_on_a_gpu),
        ("docs/benchmarks.md", packing),
        ("docs/benchmarks.md", lambda: result("commands")),
        ("docs/benchmarks.md", lambda: result("genes_and_frames")),
        ("docs/proviruses.md", lambda: result("regions")),
        ("docs/scaling.md", lambda: result("workflow_scale", 1)),
        ("docs/names/README.md", functions),
        ("docs/names/README.md", taxa),
        ("docs/classifier/README.md", accuracy),
    ],
)
def test_figures_equal_the_files_they_were_measured_in(page: str, rows: Callable[[], list[list[str]]]) -> None:
    assert rows() in list(tables(ROOT / page))


def test_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200


def test_pages_build_without_dead_links(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "docs" / "results.html").exists()
