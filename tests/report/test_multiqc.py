"""What MultiQC makes of runs, by MultiQC itself, which has an environment of its own: its pins are not virnucpro's."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from virnucpro.report.multiqc import describe_for_multiqc

MULTIQC = ROOT / ".venv-multiqc" / "bin" / "multiqc"
CONTIGS = pd.DataFrame(
    {
        "sample": ["soil", "soil.sorted", "12", "proteome"],
        "records": [5, 7, 3, 9],
        "proteins": [50, 70, 0, 9],
        "packing_efficiency": [0.9, 0.8, 0.0, 0.7],
        "viral": pd.array([1, 2, 0, None], dtype="Int64"),
        "cellular": pd.array([3, 0, 3, None], dtype="Int64"),
        "unresolved": pd.array([1, 5, 0, None], dtype="Int64"),
        "proviruses": pd.array([2, 0, 0, None], dtype="Int64"),
        "viral_bases": pd.array([31_000, 9_000, 0, None], dtype="Int64"),
        "viral_share": [0.1, 0.25, 0.1, None],
    }
)
PROTEINS = pd.DataFrame({"sample": ["z.faa"], "records": [4], "proteins": [4], "packing_efficiency": [0.5]})


@pytest.mark.skipif(not MULTIQC.exists(), reason="needs MultiQC in .venv-multiqc, where make test installs it")
def test_multiqc_shows_all_samples_of_two_runs(tmp_path: Path) -> None:
    for run, summary in (("a", CONTIGS), ("b", PROTEINS)):  # the second has no calls
        for name, text in describe_for_multiqc(summary).items():
            (tmp_path / run).mkdir(exist_ok=True)
            (tmp_path / run / name).write_text(text)
    command = [MULTIQC, ".", "--outdir", "qc", "--no-version-check", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = tmp_path / "qc" / "multiqc_data"
    statistics = pd.read_csv(
        found / "multiqc_general_stats.txt", sep="\t", index_col=0, dtype=str, keep_default_na=False
    )
    statistics.columns = statistics.columns.str.removeprefix("custom_content_virnucpro_stats-")
    columns = [
        "viral",
        "called_viral",
        "viral_share",
        "proviruses",
        "viral_bases",
        "records",
        "proteins",
        "packing_efficiency",
    ]
    assert statistics.T.loc[columns].to_dict("list") == {
        "soil": ["1", "0.2", "0.1", "2", "31000", "5", "50", "0.9"],
        "soil.sorted": ["2", "0.2857", "0.25", "0", "9000", "7", "70", "0.8"],
        "12": ["0", "0.0", "0.1", "0", "0", "3", "0", "0.0"],
        "proteome": ["", "", "", "", "", "9", "9", "0.7"],
        "z.faa": ["", "", "", "", "", "4", "4", "0.5"],
    }
    graph = pd.read_csv(found / "multiqc_virnucpro_calls.txt", sep="\t", dtype={"Sample": str}, index_col=0)
    assert graph.T.to_dict() == {
        "soil": {"viral": 1, "cellular": 3, "unresolved": 1},
        "soil.sorted": {"viral": 2, "cellular": 0, "unresolved": 5},
        "12": {"viral": 0, "cellular": 3, "unresolved": 0},
    }


def test_a_run_without_calls_has_no_graph() -> None:
    (name,) = describe_for_multiqc(PROTEINS)
    assert name == "virnucpro_stats_mqc.tsv"
    config, header, row = describe_for_multiqc(PROTEINS)[name].splitlines()
    assert list(json.loads(config[1:])["headers"]) == header.split("\t")[1:]
    assert row.split("\t") == ["z.faa", "", "", "", "", "", "4", "4", "0.5"]
