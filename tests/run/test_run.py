"""Real runs: the same results as Snakemake alone, and resuming after any stop."""

import os
import shutil
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
from virnucpro.calling import not_pooled
from virnucpro.data.files import write_text
from virnucpro.report.results import describe_results
from virnucpro.run.snakemake import _environment, run_snakemake

MANY = 1000  # proteins, which are embedded for some seconds


def results(folder: Path) -> dict[str, bytes]:
    """Return the embeddings and manifests of a run, by paths below the folder."""
    files = [*folder.glob("*/embeddings.h5"), *folder.glob("work/*/manifests/*.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def is_quiet(folder: Folder) -> bool:
    return not folder.processes()


@pytest.fixture
def embedding(folder: Folder) -> subprocess.Popen[str]:
    folder.add_proteins("p.faa", MANY)
    process = folder.start("p.faa", "--type", "proteins")
    log = folder.work / "logs" / "p" / "embed_0001.log"
    wait_for(lambda: "virnucpro: embed: p 0001 on " in read(log) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def finishes(folder: Folder, *jobs: str) -> None:
    """Check that the same command finishes, and runs only these stages."""
    done = folder.run("p.faa", "--type", "proteins")
    assert done.returncode == 0, done.stderr
    lines = [line.split(": ")[0] for line in done.stderr.splitlines() if " after the start" in line]
    assert lines == list(jobs)
    with h5py.File(folder.results / "p" / "embeddings.h5") as file:
        assert len(file["id"]) == MANY
        assert np.isfinite(file["embedding"][:]).all()
    assert not (folder.work / "run.lock").read_text()


def test_a_run_gives_what_snakemake_gives_and_runs_once(folder: Folder) -> None:
    (folder.path / "soil.fa").write_text(">c1\n" + "GCTAGCAAC" * 80 + "\n>c2\nTAATAATGACTAGTAG\n")
    folder.add_proteins("p.faa")
    (folder.path / "t.tsv").write_text("sample\tfasta\ttype\nsoil\tsoil.fa\t\np\tp.faa\tproteins\n")
    done = folder.run("--samples", "t.tsv")
    assert done.returncode == 0, done.stderr
    assert "\033" not in done.stderr + done.stdout
    assert "results/p/embeddings.h5\nresults/summary.tsv, left_out.tsv, packing.svg\n" in done.stdout
    assert done.stderr.splitlines()[0] == "2 samples into results; Snakemake's log is results/work/logs/snakemake.log"
    assert "rule merge:" in (folder.work / "logs" / "snakemake.log").read_text()
    assert "rule merge:" not in done.stderr
    assert sorted(path.name for path in folder.results.iterdir()) == [
        *("left_out.tsv", "p", "packing.svg", "soil", "summary.tsv", "summary.txt", "virnucpro_stats_mqc.tsv", "work")
    ]

    other = folder.path / "other"
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2", "--directory", other]
    command += ["--configfile", folder.work / "config.json", "--config", f"outdir={other}/results"]
    by_hand = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert by_hand.returncode == 0, by_hand.stderr
    assert len(results(folder.results)) == 4
    assert results(other / "results") == results(folder.results)


def test_a_start_waits_once_for_a_driver_that_hangs(folder: Folder) -> None:
    folder.add_proteins("p.faa")
    driver, asked = folder.path / "nvidia-smi", folder.path / "asked"
    driver.write_text(f"#!/bin/sh\necho asked >> {asked}\nexec sleep 700\n")
    driver.chmod(0o755)
    folder.environment.pop("CUDA_VISIBLE_DEVICES", None)
    folder.environment["PATH"] = f"{folder.path}{os.pathsep}{os.environ['PATH']}"
    done = folder.run("p.faa", "--type", "proteins", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert asked.read_text() == "asked\n"


def test_finished_results_can_be_moved_and_run_nothing(finished: Folder) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.results.rglob("*.h5")}
    done = finished.run("p.faa", "--type", "proteins")
    assert done.returncode == 0, done.stderr
    assert "nothing to do, all is there" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished.results.rglob("*.h5")} == before


def test_a_dry_run_of_another_users_results(finished: Folder) -> None:
    asked = finished.command("p.faa", "--type", "proteins")

    def type_in(group: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        for path in (finished.results, *finished.results.rglob("*")):
            os.chown(path, 65534, group)
        # root without its right to write everywhere is a user who may read alone
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", *asked, *arguments]
        return subprocess.run(command, cwd=finished.path, env=finished.environment, capture_output=True, text=True)

    done = type_in(0, "-n")
    assert (done.returncode, done.stdout) == (0, "nothing to do, all is there\n"), done.stderr
    done = type_in(0)
    lock = finished.work / "run.lock"
    cure = "change the permissions, or give another path"
    assert done.stderr == f"virnucpro run: error: {lock}: Permission denied; {cure}\n"
    assert {path.owner() for path in finished.results.rglob("*")} == {"nobody"}, "nothing was written"
    done = type_in(65534, "-n")  # of another group: Snakemake lets it read no records
    records = finished.work / ".snakemake"
    assert done.stderr.endswith(
        f"you may not read the records of that run; its owner can type chmod -R a+rX {records}\n"
    )


def test_what_snakemake_answers_is_on_the_terminal(finished: Folder) -> None:
    for option, said in (("--summary", "../p/embeddings.h5\t"), ("--list-rules", "fetch_model"), ("--dag", "digraph")):
        done = finished.run("p.faa", "--type", "proteins", "--", option)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert "nothing to do" not in done.stderr
    done = finished.run("p.faa", "--type", "proteins", "--", "--delete-all-output")
    assert done.returncode == 0, done.stderr
    assert "all is there" not in done.stderr
    assert not list(finished.results.glob("*.*")) + list((finished.results / "p").glob("*"))


def test_a_part_of_a_run(finished: Folder) -> None:
    part = finished.run("p.faa", "--type", "proteins", "--per-residue", "--", "--until", "prepare")
    assert part.returncode == 0
    assert "runs again" not in part.stderr, "embed is kept from running"
    assert "nothing to do\n" in part.stderr
    shutil.rmtree(finished.work / "p" / "prepared")
    part = finished.run("p.faa", "--type", "proteins", "--", "--forcerun", "prepare", "--until", "prepare")
    assert part.returncode == 0
    assert "prepare: 1 of 1 sample" in part.stderr
    assert "nothing to do" not in part.stderr


def test_touch_with_a_lost_result(finished: Folder) -> None:
    (finished.results / "summary.txt").unlink()
    done = finished.run("p.faa", "--type", "proteins", "--", "--touch", "--forceall")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr + (finished.work / "logs" / "snakemake.log").read_text()


def test_a_users_profile_and_python_do_not_matter(finished: Folder) -> None:
    """A run ignores a profile for other workflows, another python on PATH, and modules beside the data."""
    profile = finished.path / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text("dry-run: true\nexecutor: slurm\n")
    tools = finished.path / "bin"
    tools.mkdir()
    for name in ("bash", "cat", "dirname", "env", "sh", "tee", "which"):
        (tools / name).symlink_to(str(shutil.which(name)))
    for name in ("snakemake", "json", "random"):
        for folder in (finished.path, finished.work):
            (folder / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    command = [Path(sys.executable).parent / "virnucpro", *finished.command("p.faa", "--type", "proteins")[3:]]
    environment = finished.environment | {"SNAKEMAKE_PROFILE": str(profile), "PATH": str(tools)}
    (finished.results / "p" / "embeddings.h5").unlink()
    done = subprocess.run(command, cwd=finished.path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "merge: 1 of 1 sample" in done.stderr
    assert (finished.results / "p" / "embeddings.h5").exists()


def test_lost_records_of_snakemake_and_files_in_the_way(finished: Folder) -> None:
    shutil.rmtree(finished.work / ".snakemake")
    for arguments in ([], ["-n"]):
        done = finished.run("p.faa", "--type", "proteins", *arguments)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()[-1:]
        assert "would be overwritten" in line
        assert "--force" in line
    assert (finished.results / "p" / "embeddings.h5").exists()


def test_ctrl_c_stops_the_jobs_and_the_same_command_goes_on(folder: Folder, embedding: subprocess.Popen[str]) -> None:
    os.kill(embedding.pid, signal.SIGINT)
    _, err = embedding.communicate(timeout=600)
    assert embedding.returncode == 130
    assert err.splitlines()[-1] == "stopped by Ctrl-C; run the same command again to resume"
    assert "failed" not in err
    assert is_quiet(folder)
    finishes(folder, "embed", "merge", "summary")


def test_snakemake_may_take_its_time_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec >&-\nsleep 1\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr("virnucpro.run.snakemake._SNAKEMAKE", [str(python)])
    assert run_snakemake([], tmp_path / "log", None, lambda events: None, lambda number: None) == 3


def test_snakemake_alone_is_killed(folder: Folder, embedding: subprocess.Popen[str]) -> None:
    (snakemake,) = folder.processes(b"snakemake")
    os.kill(snakemake, signal.SIGKILL)
    _, err = embedding.communicate(timeout=600)
    assert embedding.returncode == 1
    last = "virnucpro run: error: Snakemake was killed (SIGKILL); run the same command again to resume"
    assert err.splitlines()[-1] == last
    assert is_quiet(folder), "its jobs were left behind"
    finishes(folder, "embed", "merge", "summary")


def test_all_but_the_jobs_is_killed(folder: Folder, embedding: subprocess.Popen[str]) -> None:
    (snakemake,) = folder.processes(b"snakemake")
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
    assert refused.stderr.startswith(f"virnucpro run: error: {folder.work}: another run is going on there (process ")
    assert len(refused.stderr.splitlines()) == 1
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2", "--directory", folder.path / "other"]
    command += ["--configfile", folder.work / "config.json", "--config", f"outdir={folder.results}"]
    by_hand = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert by_hand.returncode == 1
    assert "Traceback" not in by_hand.stderr
    assert by_hand.stderr.rstrip().splitlines()[-1].startswith("virnucpro: error: "), by_hand.stderr
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
    assert "its log is results/work/logs/bad/prepare.log\n" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "virnucpro run: error: 1 job failed. Fix the problem above, then run the same command to resume."
    )
    assert "Traceback" not in done.stderr
    assert (folder.results / "good" / "embeddings.h5").exists(), "a sample that fails stops no other"


def test_what_snakemake_refuses_is_one_line(finished: Folder) -> None:
    done = finished.run("p.faa", "--type", "proteins", "--", "absent")
    assert done.returncode == 1
    assert "MissingRuleException" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_other_settings_run_what_depends_on_them(finished: Folder) -> None:
    done = finished.run("p.faa", "--type", "proteins", "--per-residue", "-n")
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["embed", "1"], ["merge", "1"], ["summary", "1"]]
    assert "--per-residue was not set" in rows[0][2]
    done = finished.run("p.faa", "--type", "proteins", "--per-residue")
    assert done.returncode == 0
    assert "embed runs again, first for p: --per-residue was not set" in done.stderr
    assert "prepare" not in done.stderr


@pytest.mark.parametrize("name", ["two words", "a 'quoted' \"name\"", "100% {x", "ñandú <x"])
def test_odd_paths_without_a_home(folder: Folder, name: str, tmp_path: Path) -> None:
    odd = tmp_path / name
    odd.mkdir()
    folder.path = odd
    folder.results, folder.work = odd / "re sults", odd / "re sults" / "work"
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
    again = subprocess.run(
        folder.command(str(odd / "p.faa"), "--type", "proteins", "--outdir", str(folder.results)),
        cwd="/",
        env=folder.environment,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr


def samples_in_summary(folder: Folder) -> list[str]:
    return [line.split("\t")[0] for line in (folder.results / "summary.tsv").read_text().splitlines()[1:]]


def test_another_file_joins_the_finished_samples_of_the_folder(finished: Folder) -> None:
    finished.add_proteins("q.faa", 3)
    finished.add_proteins("r.faa", 2)
    done = finished.run("q.faa", "--type", "proteins")
    assert done.returncode == 0, done.stderr
    assert "prepare: 1 of 1 sample, " in done.stderr, "the finished sample runs no job"
    assert samples_in_summary(finished) == ["p", "q"]
    assert "results/p/embeddings.h5\nresults/q/embeddings.h5\n" in done.stdout

    finished.run("p.faa", "q.faa", "--type", "proteins")  # the table of the copied folder named another p.faa
    (finished.results / "q" / "embeddings.h5").unlink()  # to save room: it is not made again
    (finished.path / "p.faa").write_text("no FASTA")
    done = finished.run("r.faa", "--type", "proteins")
    assert done.returncode == 0, done.stderr
    assert samples_in_summary(finished) == ["r"]


def test_samples_with_other_settings_are_not_pooled_and_that_is_said(tmp_path: Path) -> None:
    work, called = tmp_path / "work", ["a", "b", *(f"s{number:02}" for number in range(12))]
    for sample in called:
        write_text(work / sample / "call.json", "{}")
    assert not_pooled(work, called) == []
    said = describe_results(tmp_path, Path("results"), ["a", "s11"])
    assert said == "not in these: b, s00, s01, s02, s03, s04, s05, s06, s07, s08, ..., of earlier runs\n"


@pytest.mark.parametrize("home", [None, "/proc"])
def test_a_user_that_the_machine_does_not_know(folder: Folder, home: str | None) -> None:
    """As of docker run --user, Kubernetes and Galaxy."""
    unknown = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    if subprocess.run([*unknown, "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    folder.add_proteins("p.faa", 3)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | ({"HOME": home} if home else {})
    command = [*unknown, *folder.command("p.faa", "--type", "proteins")]
    done = subprocess.run(command, cwd=folder.path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder.results / "p" / "embeddings.h5").exists()


def test_a_job_that_is_killed_says_what_to_lower(folder: Folder, embedding: subprocess.Popen[str]) -> None:
    """As the kernel does when memory runs out."""
    commands = {one: Path(f"/proc/{one}/cmdline").read_bytes() for one in folder.processes(b"embed")}
    (process,) = (one for one, command in commands.items() if b"__main__.py" in command)
    os.kill(process, signal.SIGKILL)
    _, said = embedding.communicate(timeout=600)
    assert embedding.returncode == 1
    assert "embed failed for sample p: its process was killed, perhaps for lack of memory; try a lower " in said


def test_python_m_in_a_clone_gives_snakemake_the_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python puts the working folder on its path, and Snakemake does not."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", [str(ROOT), *(entry for entry in sys.path if entry != str(ROOT))])
    assert _environment("cache")["PYTHONPATH"] == str(ROOT)
