"""What MultiQC makes of a run, by MultiQC itself, which has an environment of its own: its pins are not virnucpro's."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from virnucpro.report.multiqc import describe_for_multiqc

MULTIQC = ROOT / ".venv-multiqc" / "bin" / "multiqc"
SUMMARY = pd.DataFrame(
    {
        "sample": ["soil", "gut 7", "proteome"],
        "records": [5, 7, 9],
        "proteins": [50, 70, 9],
        "packing_efficiency": [0.9, 0.8, 0.7],
        "viral": pd.array([1, 2, None], dtype="Int64"),
        "cellular": pd.array([3, 0, None], dtype="Int64"),
        "unresolved": pd.array([1, 5, None], dtype="Int64"),
    }
)


@pytest.mark.skipif(not MULTIQC.exists(), reason="needs MultiQC in .venv-multiqc, where make test installs it")
def test_multiqc_finds_the_values(tmp_path: Path) -> None:
    for name, text in describe_for_multiqc(SUMMARY, ["soil", "gut 7"]).items():
        (tmp_path / name).write_text(text)
    command = [MULTIQC, ".", "--outdir", "qc", "--no-version-check", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((tmp_path / "qc" / "multiqc_data" / "multiqc_data.json").read_text())
    statistics = json.dumps(data["report_general_stats_data"])
    expected = [
        {"viral": 1, "records": 5, "proteins": 50, "packing_efficiency": 0.9},
        {"viral": 2, "records": 7, "proteins": 70, "packing_efficiency": 0.8},
        {"records": 9, "proteins": 9, "packing_efficiency": 0.7},
    ]
    for row in expected:
        assert all(json.dumps({name: value})[1:-1] in statistics for name, value in row.items()), statistics
    (graph,) = (plot for name, plot in data["report_plot_data"].items() if "virnucpro" in name)
    (bars,) = graph["datasets"]
    found = {category["name"]: category["data"] for category in bars["cats"]}
    order = [sample.strip() for sample in bars["samples"]]
    assert {name: dict(zip(order, values, strict=True)) for name, values in found.items()} == {
        "viral": {"soil": 1, "gut 7": 2},
        "cellular": {"soil": 3, "gut 7": 0},
        "unresolved": {"soil": 1, "gut 7": 5},
    }


def test_a_run_without_calls_has_no_graph() -> None:
    table = SUMMARY.drop(columns=["viral", "cellular", "unresolved"])
    files = describe_for_multiqc(table, [])
    assert list(files) == ["virnucpro_stats_mqc.json"]
    assert json.loads(files["virnucpro_stats_mqc.json"])["data"]["soil"]["records"] == 5
