"""The workflow on a real SLURM cluster with four GPUs, which this machine plays."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.calling.original import random_classifier, save_as_original
from tests.conftest import ROOT
from tests.encoders import dna
from tests.workflow.project import Project, contigs, wait_for
from tests.workflow.slurm_cluster import GPUS, KINDS, Cluster, processes_of, running_cluster, start_guard
from virnucpro.data.fasta import BEGINNING

# Nowhere else may these tests be left out: on Debian as root a cluster that does not start is a failure.
pytestmark = pytest.mark.skipif(
    not Path("/etc/debian_version").exists() or os.geteuid() != 0, reason="a SLURM cluster takes Debian, and root"
)
PROFILE = ROOT / "profiles" / "slurm"
# Without slurmdbd sacct hangs; and the plugin's 40 s before the first look are too long here.
WITHOUT_ACCOUNTING = (
    *("--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "2"),
    *("--seconds-between-status-checks", "2"),
)
Jobs = list[dict[str, str]]


def command(project: Project, *arguments: str, profile: Path = PROFILE) -> list[str]:
    project.write()
    run = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(project.folder)]
    run += ["--configfile", str(project.folder / "config.yaml")]
    return [*run, "--workflow-profile", str(profile), *WITHOUT_ACCOUNTING, *arguments]


def submit(
    cluster: Cluster, project: Project, *arguments: str, profile: Path = PROFILE
) -> tuple[subprocess.CompletedProcess[str], Jobs]:
    """Run the workflow on the cluster, and return how it ended and which jobs were new to the cluster."""
    before = cluster.jobs().keys()
    done = subprocess.run(
        command(project, *arguments, profile=profile),
        env=cluster.environment | {"PATH": f"{cluster.folder / 'bin'}:{project.environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done, [job for number, job in cluster.jobs().items() if number not in before]


def rule_of(job: dict[str, str]) -> str:
    """Return the rule of a job; of a group its name, its number, and its rules."""
    return job["Comment"].removeprefix("rule_").split("_wildcards_")[0]


def asked(job: dict[str, str]) -> tuple[str, str, str, int]:
    """Return partition, memory, time and GPUs for which a job asked."""
    gpus = int(job.get("TresPerJob", "gpu:0").rpartition(":")[2])
    return job["Partition"], job["MinMemoryNode"], job["TimeLimit"], gpus


def embedded(project: Project) -> list[str]:
    return sorted(path.parent.parent.name for path in project.work.glob("*/shards/0001.h5"))


def foreign_files() -> dict[Path, int]:
    """Return what a SLURM of this machine would have, and when each was last changed."""
    folders = [Path("/etc/slurm"), Path("/etc/munge"), Path("/run/munge")]
    files = [path for folder in folders for path in (folder, *folder.rglob("*")) if path.exists()]
    return {path: path.stat().st_ctime_ns for path in files}


@pytest.fixture(scope="module")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    installed = foreign_files()
    with running_cluster(Path(pytestconfig.cache.mkdir("slurm"))) as running:
        yield running
    assert not running.folder.exists()
    assert foreign_files() == installed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """A sample of several shards, and two small ones, for both encoders."""
    project = Project(tmp_path_factory.mktemp("slurm"), forks)
    dna.save_dnabert(project.folder / "dna", d=36, heads=6)
    save_as_original(random_classifier(36 + 32), project.folder / "500_model.pth")
    project.config |= {"nucleotide_model": "dna", "classifier": "500_model.pth", "call": True, "per_residue": True}
    for sample, count in {"soil": 6, "gut": 1, "sea": 1}.items():
        project.add(sample, contigs(count, count))
    project.write()
    return project


@pytest.fixture(scope="module")
def ran(cluster: Cluster, made: Project) -> tuple[Project, Jobs]:
    done, jobs = submit(cluster, made)
    assert done.returncode == 0, done.stderr
    return made, jobs


def test_jobs_of_both_encoders_ask_for_what_they_take(ran: tuple[Project, Jobs]) -> None:
    project, jobs = ran
    shards = [len(list((project.work / "soil" / f"shards{encoder}").glob("*.h5"))) for encoder in ("", "_nucleotides")]
    assert min(shards) > 1
    cpu, gpu = "cpu", "gpu"
    assert Counter((rule_of(job), *asked(job)) for job in jobs) == {
        ("token_budget", gpu, "8000M", "00:10:00", 1): 2,
        ("prepare", cpu, "1500M", "00:05:00", 0): 1,
        ("prepare_0_prepare", cpu, "3000M", "00:05:00", 0): 1,  # two samples side by side
        ("embed", gpu, "8000M", "00:03:00", 1): sum(shards),
        ("embed_0_embed", gpu, "8000M", "00:12:00", 1): 1,  # two samples, two encoders, one after another
        ("merge", cpu, "1500M", "00:05:00", 0): 2,
        ("call", cpu, "2000M", "00:05:00", 0): 1,  # per-residue files are streamed: no more memory
        ("merge_0_call_merge", cpu, "6000M", "00:10:00", 0): 1,  # two merges a sample, side by side; then calls
    }
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert {job["NumCPUs"] for job in jobs if "embed" in rule_of(job)} == {"4"}


def test_the_record_names_the_command_that_submitted(ran: tuple[Project, Jobs]) -> None:
    details = json.loads((ran[0].work / "soil" / "merge.json").read_text())["details"]
    assert details["command"].endswith(shlex.join(command(ran[0])[1:]))
    assert details["devices"] == ["cpu"]


def test_no_two_jobs_share_a_gpu(cluster: Cluster, ran: tuple[Project, Jobs]) -> None:
    gpu_jobs = {job["JobId"] for job in ran[1] if job["Partition"] == "gpu"}
    ours = {job["JobId"] for job in ran[1]}
    held: dict[str, str] = {}
    most = 0
    for event, _, job, device in sorted(cluster.tasks(), key=lambda task: task[1]):
        if job not in ours:
            continue
        if job not in gpu_jobs:
            assert device == "-"
        elif event == "start":
            assert held.get(device, job) == job, f"jobs {job} and {held[device]} on device {device}"
            held[device] = job
        elif held.get(device) == job:
            del held[device]
        most = max(most, len(held))
    assert 1 < most <= GPUS
    assert not held


def test_the_result_is_that_of_a_local_run(ran: tuple[Project, Jobs], tmp_path: Path) -> None:
    project = ran[0]
    local = project.copy(tmp_path)
    shutil.rmtree(local.results)
    shutil.rmtree(local.folder / ".snakemake")
    local.config["shard_tokens"] = 100_000  # saves jobs, and packs the same bins
    local.complete("--resources", "gpu=2")
    for path in project.results.glob("*/embeddings*.h5"):
        with h5py.File(path) as ours, h5py.File(local.results / path.relative_to(project.results)) as theirs:
            assert ours["id"].asstr()[:].tolist() == theirs["id"].asstr()[:].tolist()
            np.testing.assert_allclose(ours["embedding"][:], theirs["embedding"][:], rtol=0, atol=1e-6)


def test_another_length_calls_again_in_as_few_jobs_also_without_shards(
    cluster: Cluster, ran: tuple[Project, Jobs], tmp_path: Path
) -> None:
    project = ran[0].copy(tmp_path)
    for folder in project.work.glob("*/shards*"):
        shutil.rmtree(folder)
    project.config["min_length"] = 100
    done, jobs = submit(cluster, project)
    assert done.returncode == 0, done.stderr
    assert Counter(map(rule_of, jobs)) == {"call": 1, "merge_0_call": 1}


def test_a_site_fills_in_one_block_and_a_job_out_of_memory_comes_again_with_more(
    cluster: Cluster, tmp_path: Path, forks: dict[str, str]
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    text = (PROFILE / "config.yaml").read_text()
    for line, filled in (
        ("# slurm_account: my_account", "slurm_account: lab7"),
        ("# gpu_model: a100", "gpu_model: big"),
    ):
        assert line in text
        text = text.replace(line, filled)
    (site / "config.yaml").write_text(text)
    project = Project(tmp_path, forks)
    project.add("soil", contigs(1, 1))
    cluster.need_mb(3000)
    try:
        done, jobs = submit(cluster, project, "out/work/soil/shards/0001.h5", profile=site)
    finally:
        cluster.need_mb(0)
    assert done.returncode == 0, done.stderr
    assert {job["Account"] for job in jobs} == {"lab7"}
    on = {job: devices for event, _, job, devices in cluster.tasks() if event == "start"}
    for job in jobs:
        if job["Partition"] == "gpu":
            assert "gpu:big:1" in job["TresPerJob"]
            assert on[job["JobId"]] in KINDS["big"]
    first, second = (job for job in jobs if "prepare" in rule_of(job))
    assert (first["JobState"], *asked(first)) == ("FAILED", "cpu", "1500M", "00:05:00", 0)
    assert (second["JobState"], *asked(second)) == ("COMPLETED", "cpu", "3000M", "00:10:00", 0)


def test_a_sample_that_fails_holds_up_its_neighbors_alone_and_once(
    cluster: Cluster, tmp_path: Path, forks: dict[str, str]
) -> None:
    project = Project(tmp_path, forks)
    project.config["shard_tokens"] = 100_000
    for number in range(18):
        project.add(f"s{number}", contigs(number, 1))
    project.add("s1", f">a\n{'ACGT' * BEGINNING}\n>a\nACGT\n")
    some = [f"out/work/s{number}/shards/0001.h5" for number in (0, 1, 16, 17)]
    done, jobs = submit(cluster, project, *some, "--retries", "0")
    assert done.returncode == 1
    of_run = {"token_budget": 1, "prepare_0_prepare": 1, "prepare_1_prepare": 1, "embed_1_embed": 1}
    assert Counter(map(rule_of, jobs)) == of_run
    assert embedded(project) == ["s16", "s17"]
    done, jobs = submit(cluster, project, *some, "--retries", "0")
    assert done.returncode == 1
    assert "prepare" in map(rule_of, jobs), "what failed has a job of its own"
    assert "two records are named a" in (project.work / "logs" / "s1" / "prepare.log").read_text()
    assert embedded(project) == ["s0", "s16", "s17"]


def test_ctrl_c_waits_until_the_jobs_are_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("soil", contigs(1))
    project.write()
    slow = tmp_path / "bin" / "scancel"  # as on a busy cluster
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 25\nexec {cluster.folder}/bin/scancel "$@"\n')
    slow.chmod(0o755)
    environment = cluster.environment | {"PATH": f"{slow.parent}:{cluster.environment['PATH']}"}
    before = cluster.jobs().keys()
    run = ["virnucpro", "run", "soil.fa", "--slurm", "gpu", "--model", "tiny.pt", "--no-call", "--outdir", "out"]
    log = project.work / "logs" / "snakemake.log"
    node = cluster.command("sinfo", "--noheader", "--format=%n").strip()
    cluster.command("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")  # jobs stay in the queue
    try:
        with subprocess.Popen([*run, "--", *WITHOUT_ACCOUNTING], cwd=tmp_path, env=environment) as running:
            wait_for(lambda: log.exists() and "has been submitted" in log.read_text())
            time.sleep(5)  # the executor notes a job a moment after it has said so
            running.send_signal(signal.SIGINT)
            assert running.wait(600) == 128 + signal.SIGINT
    finally:
        cluster.command("scontrol", "update", f"nodename={node}", "state=resume")
    states = {number: job["JobState"] for number, job in cluster.jobs().items() if number not in before}
    assert set(states.values()) == {"CANCELLED"}


def test_a_killed_test_leaves_no_cluster(cluster: Cluster, pytestconfig: pytest.Config) -> None:
    cache = Path(pytestconfig.cache.mkdir("slurm"))
    guard, orphans = start_guard(cache)
    guard.send_signal(signal.SIGKILL)  # worse than the death of the tests, which the guard would notice
    guard.communicate()
    assert orphans.exists()
    with running_cluster(cache) as another:
        assert not orphans.exists()
        assert processes_of(orphans) == []
        assert "idle" in another.command("sinfo") and "idle" in cluster.command("sinfo")
