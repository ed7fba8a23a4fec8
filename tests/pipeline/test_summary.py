"""summary: the share of viral contigs of each sample, in the table and in words."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.report.made_run import make_run, names
from virnucpro.data.provenance import read_provenance, write_provenance
from virnucpro.data.tables import write_table
from virnucpro.pipeline.summary import summary

SHARE = ["viral_share", "viral_share_low", "viral_share_high"]


def make(folder: Path, samples: dict[str, int], shares: dict[str, Any]) -> None:
    """Write the files of a run with samples of these numbers of contigs and given shares."""
    make_run(folder, {sample: names(count) for sample, count in samples.items()})
    for sample in samples:
        work = folder / "work" / sample
        (work / "prepared").mkdir()
        columns = ["record", "length", "chunks", "proteins", "ambiguous"]
        write_table(pd.DataFrame([("a", 900, 1, 1, 0)], columns=columns), work / "prepared" / "records.tsv")
        write_provenance(work / "prepare.json", "prepare", {}, {}, [work / "prepared" / "records.tsv"])
        packed = {"shards": [], "duplicates": 0, "truncated": 0, "screened": 0, "token_budget": 4096}
        write_provenance(work / "pack.json", "pack", {}, {}, [], packed)
        write_provenance(work / "merge.json", "merge", {}, {}, [folder / sample / "embeddings.h5"], {"seconds": 1.0})
        if sample in shares:
            called = read_provenance(work / "call.json", "call")
            outputs = [folder / sample / name for name in called.outputs]
            write_provenance(work / "call.json", "call", called.settings, {}, outputs, called.details | shares[sample])


def line(folder: Path) -> str:
    """Return what the text says of shares."""
    lines = [text for text in (folder / "summary.txt").read_text().splitlines() if text.startswith("viral share:")]
    return lines[0].removeprefix("viral share:").strip() if lines else ""


def estimated(value: float, low: float, high: float) -> dict[str, Any]:
    return {"share": {"value": value, "low": low, "high": high, "source": "estimated"}}


def test_one_sample(tmp_path: Path) -> None:
    make(tmp_path, {"soil": 60}, {"soil": estimated(0.06123456, 0.04, 0.092)})
    summary(tmp_path, ["soil"], ["soil"])
    assert line(tmp_path) == "6.1 % of contigs (4.0 to 9.2 %), estimated"
    assert pd.read_csv(tmp_path / "summary.tsv", sep="\t")[SHARE].iloc[0].tolist() == [0.0612, 0.04, 0.092]


def test_several_samples(tmp_path: Path) -> None:
    shares = {"a": estimated(0.005, 0.001, 0.01), "b": estimated(0.12, 0.1, 0.2), "d": {"is_published": True}}
    make(tmp_path, {"a": 60, "b": 60, "c": 20, "d": 20, "e": 20}, shares)
    summary(tmp_path, list("abcde"), list("abcd"))
    expected = "0.5 to 12.0 % of contigs, estimated (2 samples); "
    assert line(tmp_path) == f"{expected}10.0 % of contigs, the default for fewer than 50 callable contigs (1 sample)"
    table = pd.read_csv(tmp_path / "summary.tsv", sep="\t").set_index("sample")
    assert table["viral_share"].dropna().to_dict() == {"a": 0.005, "b": 0.12, "c": 0.1}


@pytest.mark.parametrize("called", [[], ["soil"]])
def test_without_shares(called: list[str], tmp_path: Path) -> None:
    make(tmp_path, {"soil": 20}, {"soil": {"is_published": True}})
    summary(tmp_path, ["soil"], called)
    assert line(tmp_path) == ""
    header, row = (text.split("\t") for text in (tmp_path / "summary.tsv").read_text().splitlines())
    assert {name: row[header.index(name)] for name in SHARE if name in header} == dict.fromkeys(
        SHARE if called else [], ""
    )
