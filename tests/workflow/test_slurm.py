"""The workflow on a real SLURM cluster with four GPUs, which this machine plays."""

import json
import os
import re
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.workflow.project import Project, contigs
from tests.workflow.slurm_cluster import GPUS, KINDS, Cluster, processes_of, running_cluster, start_guard
from virnucpro.data.fasta import BEGINNING

# Nowhere else may these tests be left out: on Debian as root a cluster that does not start is a failure.
pytestmark = pytest.mark.skipif(
    not Path("/etc/debian_version").exists() or os.geteuid() != 0, reason="a SLURM cluster takes Debian, and root"
)
SAMPLES = {"soil": 3, "gut": 1}
PROFILE = ROOT / "profiles" / "slurm"
# Without slurmdbd sacct hangs; and the plugin's 40 s before the first look are too long here.
WITHOUT_ACCOUNTING = (
    *("--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "1"),
    *("--seconds-between-status-checks", "1"),
)


def command(project: Project, *arguments: str, profile: Path = PROFILE) -> list[str]:
    project.write()
    run = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(project.folder)]
    run += ["--configfile", str(project.folder / "config.yaml")]
    return [*run, "--workflow-profile", str(profile), *WITHOUT_ACCOUNTING, *arguments]


def submit(cluster: Cluster, project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(project, *arguments), env=cluster.environment, capture_output=True, text=True, timeout=600
    )


def rule_of(job: dict[str, str]) -> str:
    return job["Comment"].removeprefix("rule_").split("_wildcards_")[0]


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
def project(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("slurm"))
    for sample, seed in SAMPLES.items():
        made.add(sample, contigs(seed))
    made.config["shard_tokens"] = 300  # three shards a sample, by the size of its file
    done = submit(cluster, made)
    assert done.returncode == 0, done.stderr
    return made


def test_every_stage_is_a_job_in_its_partition(cluster: Cluster, project: Project) -> None:
    jobs = cluster.jobs().values()
    shards = len(list(project.results.glob("*/shards/*.h5")))
    assert shards > GPUS
    once_a_sample = {(rule, "cpu"): len(SAMPLES) for rule in ("prepare", "merge")}
    expected = once_a_sample | {("token_budget", "gpu"): 1, ("embed", "gpu"): shards}
    assert Counter((rule_of(job), job["Partition"]) for job in jobs) == expected
    for job in jobs:
        assert job["JobState"] == "COMPLETED"
        assert job.get("TresPerJob", "").endswith("gpu:1") == (job["Partition"] == "gpu")
        assert job["TimeLimit"] != "UNLIMITED"
        assert job["NumCPUs"] == ("4" if rule_of(job) == "embed" else "1")


def test_the_provenance_names_the_command_that_submitted(project: Project) -> None:
    record = json.loads((project.results / "soil" / "provenance.json").read_text())
    provenance = record["merge"]["details"]
    assert provenance["command"].endswith(shlex.join(command(project)[1:]))
    assert provenance["devices"] == ["cpu"]


def test_no_two_jobs_share_a_gpu(cluster: Cluster, project: Project) -> None:
    gpu_jobs = {number for number, job in cluster.jobs().items() if job["Partition"] == "gpu"}
    held: dict[str, str] = {}
    most = 0
    for event, _, job, device in sorted(cluster.tasks(), key=lambda task: task[1]):
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


def test_the_result_is_that_of_a_local_run(project: Project, tmp_path: Path) -> None:
    local = Project(tmp_path)
    local.config["shard_tokens"] = 100_000  # saves jobs, and packs the same bins
    for sample, seed in SAMPLES.items():
        local.add(sample, contigs(seed))
    done = local.run("--resources", "gpu=2")
    assert done.returncode == 0, done.stderr
    for sample in SAMPLES:
        with (
            h5py.File(project.results / sample / "embeddings.h5") as ours,
            h5py.File(local.results / sample / "embeddings.h5") as theirs,
        ):
            assert ours["id"].asstr()[:].tolist() == theirs["id"].asstr()[:].tolist()
            np.testing.assert_allclose(ours["embedding"][:], theirs["embedding"][:], rtol=0, atol=1e-6)


def test_a_job_that_ran_out_of_memory_is_submitted_again_with_more(cluster: Cluster, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("soil", contigs(1))
    before = cluster.jobs().keys()
    cluster.need_mb(3000)
    try:
        done = submit(cluster, project, "out/soil/duplicates.tsv")
    finally:
        cluster.need_mb(0)
    assert done.returncode == 0, done.stderr
    new = (job for number, job in sorted(cluster.jobs().items()) if number not in before)
    first, second = (job for job in new if "prepare" in rule_of(job))
    assert (first["JobState"], first["MinMemoryNode"], first["TimeLimit"]) == ("FAILED", "2000M", "00:30:00")
    assert (second["JobState"], second["MinMemoryNode"], second["TimeLimit"]) == ("COMPLETED", "4000M", "01:00:00")


def test_a_site_fills_in_one_block_and_a_job_on_a_smaller_card_finishes(cluster: Cluster, tmp_path: Path) -> None:
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
    project = Project(tmp_path)
    project.add_large_bins("soil")
    before = cluster.jobs().keys()
    running = subprocess.Popen(
        command(project, profile=site), env=cluster.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    project.starve("soil", "0001")  # until its bins are split; where half of one does not fit either, it comes again
    assert running.wait(300) == 0
    jobs = {rule_of(job): job for number, job in cluster.jobs().items() if number not in before}
    assert {job["Account"] for job in jobs.values()} == {"lab7"}
    assert {rule for rule, job in jobs.items() if "gpu:big:1" in job.get("TresPerJob", "")} == {
        "token_budget",
        "embed_0_embed",
    }
    on = {job: devices for event, _, job, devices in cluster.tasks() if event == "start"}
    assert all(on[jobs[rule]["JobId"]] in KINDS["big"] for rule in ("token_budget", "embed_0_embed"))
    with h5py.File(project.results / "soil" / "embeddings.h5") as file:
        split = file["embedding"][:]
    (project.results / "soil" / "embeddings.h5").unlink()
    (project.results / "soil" / "shards" / "0001.h5").unlink()
    assert project.run().returncode == 0
    with h5py.File(project.results / "soil" / "embeddings.h5") as file:
        np.testing.assert_allclose(file["embedding"][:], split, rtol=0, atol=1e-5)


def test_small_samples_share_jobs_until_one_fails(cluster: Cluster, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.config["shard_tokens"] = 100_000
    for number in range(4):
        project.add(f"s{number}", contigs(number, 1))
    project.add("s1", f">a\n{'ACGT' * BEGINNING}\n>a\nACGT\n")
    project.add_classifier()
    before = cluster.jobs().keys()
    two_a_job = ("--group-components", "prepare=2", "embed=2", "merge=2", "--retries", "0")
    assert submit(cluster, project, *two_a_job).returncode == 1
    jobs = [job for number, job in cluster.jobs().items() if number not in before]
    counts = Counter(re.sub(r"_\d+", "", rule_of(job)) for job in jobs)
    assert counts == {"token_budget": 1, "prepare_prepare": 2, "embed_embed": 1, "merge_call_merge": 1}
    for job in jobs:
        gpus = int(job.get("TresPerJob", "gpu:0").rpartition(":")[2])
        assert gpus == (job["Partition"] == "gpu"), "what shares a job takes turns on its GPU"
    assert called(project) == ["s2", "s3"], "they share no job with the one that fails"
    assert submit(cluster, project, *two_a_job).returncode == 1
    log = (project.results / "logs" / "s1" / "prepare.log").read_text()
    assert "virnucpro prepare: error: sample s1: s1.fa: line 3: two records are named a" in log
    assert called(project) == ["s0", "s2", "s3"]


def called(project: Project) -> list[str]:
    return sorted(path.parent.name for path in project.results.glob("*/contigs.tsv"))


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
