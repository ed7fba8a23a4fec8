"""Runs for real: the same results as Snakemake gives, and going on after whatever stopped one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.run.conftest import Folder
from tests.workflow.project import ENVIRONMENT, wait_for
from virnucpro.run.snakemake import run_snakemake

MANY = 1000  # proteins, which are embedded for some seconds


def results(folder: Folder, sample: str) -> dict[str, bytes]:
    below = folder.results / sample
    return {name: (below / name).read_bytes() for name in ("embeddings.h5", "manifests/0001.json")}


def is_quiet(folder: Folder) -> bool:
    return not folder.processes()


@pytest.fixture
def embedding(folder: Folder) -> subprocess.Popen[str]:
    folder.add_proteins("p.faa", MANY)
    process = folder.start("p.faa", "--type", "proteins")
    log = folder.results / "logs" / "p" / "embed_0001.log"
    wait_for(lambda: "virnucpro: embed: p 0001 on " in read(log) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def finishes(folder: Folder, *jobs: str) -> None:
    """Check that the same command comes to its end, with these stages alone."""
    done = folder.run("p.faa", "--type", "proteins")
    assert done.returncode == 0, done.stderr
    lines = [line.split(": ")[0] for line in done.stderr.splitlines() if " after the start" in line]
    assert lines == list(jobs)
    with h5py.File(folder.results / "p" / "embeddings.h5") as file:
        assert len(file["id"]) == MANY
        assert np.isfinite(file["embedding"][:]).all()
    assert not (folder.results / ".lock").read_text()


def test_a_run_gives_what_snakemake_gives_and_runs_once(folder: Folder) -> None:
    (folder.path / "soil.fa").write_text(">c1\n" + "GCTAGCAAC" * 80 + "\n>c2\nTAATAATGACTAGTAG\n")
    folder.add_proteins("p.faa")
    (folder.path / "t.tsv").write_text("sample\tfasta\ttype\nsoil\tsoil.fa\t\np\tp.faa\tproteins\n")
    done = folder.run("--samples", "t.tsv")
    assert done.returncode == 0, done.stderr
    assert "\033" not in done.stderr + done.stdout
    assert "results/p/embeddings.h5\nresults/summary.tsv, left_out.tsv, packing.svg\n" in done.stdout
    assert done.stderr.splitlines()[0] == "2 samples into results; Snakemake's log is results/logs/snakemake.log"
    log = (folder.results / "logs" / "snakemake.log").read_text()
    assert "rule merge:" in log
    assert "rule merge:" not in done.stderr

    before = {path: path.stat().st_mtime_ns for path in folder.results.glob("**/*.h5")}
    again = folder.run("--samples", "t.tsv")
    assert again.returncode == 0
    assert "nothing to do, all is there" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.results.glob("**/*.h5")} == before

    other = folder.path / "other"
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2", "--resources", "gpu=1"]
    command += [
        "--directory",
        other,
        "--configfile",
        folder.results / "config.json",
        "--config",
        f"outdir={other}/results",
    ]
    by_hand = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert by_hand.returncode == 0, by_hand.stderr
    for sample in ("soil", "p"):
        for name, content in results(folder, sample).items():
            assert (other / "results" / sample / name).read_bytes() == content


def test_ctrl_c_stops_the_jobs_and_the_same_command_goes_on(folder: Folder, embedding: subprocess.Popen[str]) -> None:
    os.kill(embedding.pid, signal.SIGINT)
    _, err = embedding.communicate(timeout=60)
    assert embedding.returncode == 130
    assert err.splitlines()[-1] == "stopped by Ctrl-C; the same command goes on from here"
    assert "failed" not in err
    assert is_quiet(folder)
    assert not list((folder.results / ".snakemake" / "locks").glob("*"))
    finishes(folder, "embed", "merge", "summary")


def test_snakemake_may_take_its_time_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec >&-\nsleep 1\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert run_snakemake([], tmp_path / "log", None, lambda events: None, lambda number: None) == 3


def test_snakemake_alone_is_killed(folder: Folder, embedding: subprocess.Popen[str]) -> None:
    (snakemake,) = folder.processes(b"virnucpro.run.child")
    os.kill(snakemake, signal.SIGKILL)
    _, err = embedding.communicate(timeout=60)
    assert embedding.returncode == 1
    last = "virnucpro run: error: Snakemake was killed (SIGKILL); the same command goes on from here"
    assert err.splitlines()[-1] == last
    assert is_quiet(folder), "its jobs were left behind"
    finishes(folder, "embed", "merge", "summary")


def test_all_but_the_jobs_is_killed(folder: Folder, embedding: subprocess.Popen[str]) -> None:
    (snakemake,) = folder.processes(b"virnucpro.run.child")
    (job,) = folder.processes(b"embed")
    os.kill(embedding.pid, signal.SIGSTOP)  # or it would see Snakemake's end and stop the jobs
    os.kill(snakemake, signal.SIGKILL)
    os.kill(embedding.pid, signal.SIGKILL)
    embedding.communicate()
    assert folder.processes(b"embed") == [job]
    finishes(folder, "embed", "merge", "summary")
    assert is_quiet(folder)


def test_the_first_process_is_killed_and_a_second_run_is_refused(
    folder: Folder, embedding: subprocess.Popen[str]
) -> None:
    (job,) = folder.processes(b"embed")
    os.kill(job, signal.SIGSTOP)  # or it may end while the two other runs are looked at
    refused = folder.run("p.faa", "--type", "proteins")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"virnucpro run: error: {folder.results}: another run is going on there (process ")
    assert len(refused.stderr.splitlines()) == 1
    looked = folder.run("p.faa", "--type", "proteins", "-n")
    assert looked.returncode == 0, looked.stderr
    os.kill(embedding.pid, signal.SIGKILL)
    os.kill(job, signal.SIGCONT)
    embedding.communicate()
    finishes(folder, "embed", "merge", "summary")  # it waits until the jobs have stopped
    assert is_quiet(folder)


def test_a_failed_job_says_why_and_where(folder: Folder) -> None:
    folder.add_proteins("good.faa")
    padding = "".join(f">p{number}\n{'MKV' * 300}\n" for number in range(150))
    (folder.path / "bad.faa").write_text(f"{padding}>a\nMKV\n>a\nMKV\n")  # beyond what is read at the start
    done = folder.run("bad.faa", "good.faa", "--type", "proteins")
    assert done.returncode == 1
    path = folder.path / "bad.faa"
    assert f"prepare failed for sample bad: {path}: line 303: two records are named a; make ids unique" in done.stderr
    assert "its log is results/logs/bad/prepare.log\n" in done.stderr
    assert done.stderr.splitlines()[-1] == "virnucpro run: error: 1 job failed; the same command goes on from here"
    assert "Traceback" not in done.stderr
    assert (folder.results / "good" / "embeddings.h5").exists(), "a sample that fails stops no other"


def test_what_snakemake_refuses_is_one_line(folder: Folder) -> None:
    folder.add_proteins("p.faa")
    done = folder.run("p.faa", "--type", "proteins", "--gpus", "1", "--", "--set-resources", "embed:gpu=2")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "virnucpro run: error: embed asks for 2 GPUs, more than --resources gpu=1 allows"
    )


def test_other_settings_run_what_depends_on_them(folder: Folder) -> None:
    folder.add_proteins("p.faa")
    assert folder.run("p.faa", "--type", "proteins", "--layers", "1").returncode == 0
    done = folder.run("p.faa", "--type", "proteins", "--per-residue", "--layers", "1", "-n")
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["embed", "1"], ["merge", "1"], ["summary", "1"]]
    assert "per_residue was False, is True" in rows[0][2]
    done = folder.run("p.faa", "--type", "proteins", "--per-residue", "--layers", "1")
    assert done.returncode == 0
    assert "embed runs again, first for results/p/shards: per_residue was False, is True\n" in done.stderr
    assert "prepare" not in done.stderr


@pytest.mark.parametrize("name", ["two words", "a 'quoted' \"name\"", "100% {x", "ñandú <x"])
def test_odd_paths_without_a_home(folder: Folder, name: str, tmp_path: Path) -> None:
    odd = tmp_path / name
    odd.mkdir()
    folder.path = odd
    folder.results = odd / "re sults"
    folder.add_proteins("p.faa")
    del folder.environment["HOME"]
    folder.environment |= {"HOME": "/proc"} if " " in name else {}  # where nobody may write
    done = folder.run("p.faa", "--type", "proteins", "--outdir", "re sults")
    if "{" in name:
        assert done.returncode == 1
        assert "without braces" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        return
    assert done.returncode == 0, done.stderr
    assert (folder.results / "p" / "embeddings.h5").exists()
    folder.path = Path("/")
    again = subprocess.run(
        folder.command(str(odd / "p.faa"), "--type", "proteins", "--outdir", str(folder.results)),
        cwd="/",
        env=folder.environment,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr


def test_the_results_can_be_moved(folder: Folder, tmp_path: Path) -> None:
    folder.add_proteins("p.faa")
    assert folder.run("p.faa", "--type", "proteins").returncode == 0
    folder.results.rename(tmp_path / "moved")
    done = folder.run("p.faa", "--type", "proteins", "--outdir", "moved")
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr


def test_python_of_another_folder_does_not_matter(folder: Folder) -> None:
    folder.add_proteins("p.faa")
    for name in ("snakemake", "json", "random"):
        (folder.path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    script = Path(sys.executable).parent / "virnucpro"
    command = [script, *folder.command("p.faa", "--type", "proteins", "-n")[3:]]
    done = subprocess.run(command, cwd=folder.path, env=folder.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.path.iterdir()) == ["json.py", "p.faa", "random.py", "snakemake.py"]
