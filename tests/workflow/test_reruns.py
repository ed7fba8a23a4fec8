"""Reruns touch what changed and what depends on it, and nothing else."""

import json
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests import oracle
from tests.workflow.project import Project, contigs

TEN = [f"s{number}" for number in range(1, 11)]


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    project = Project(tmp_path_factory.mktemp("ten"), forks)
    for seed, sample in enumerate(TEN):
        project.add(sample, contigs(seed, 6 if sample == "s1" else 1))
    project.complete("--resources", "gpu=2", "--set-threads", "embed=1")  # a CPU would take all cores
    return project


def test_a_limit_of_jobs_a_second_is_kept(tmp_path: Path, forks: dict[str, str]) -> None:
    project = Project(tmp_path, forks)
    project.add("soil", contigs(1, 1))
    project.complete("--max-jobs-per-timespan", "1/3s")
    starts = [job.start for job in project.jobs()]
    assert min(np.diff(starts)) > 1.5


def test_no_device_waits_for_what_can_wait(ten: Project) -> None:
    jobs = ten.jobs()
    packed = {Path(job.log).parent.name: job.end for job in jobs if job.rule == "prepare"}
    embeds = [job for job in jobs if job.rule == "embed"]
    assert len(embeds) > len(TEN), "a sample has several shards"
    for embed in embeds:
        ready = packed[Path(embed.log).parent.name]
        overtaken = [job for job in jobs if job.rule == "merge" and ready < job.start < embed.start]
        # Two may have been started while Snakemake noticed the end of pack, on two cores.
        assert len(overtaken) <= 2, f"{embed.log} waited, and {overtaken} did not"
    running = [sum(other.start <= embed.start < other.end for other in embeds) for embed in embeds]
    assert max(running) == 2


def test_one_sample_of_ten_changes_one_goes_one_comes(ten: Project) -> None:
    kept = [*TEN[:8], *(f"work/{sample}" for sample in TEN[:8]), "s10", "work/s10"]
    cards = [ten.work / name for name in ("model.json", "token_budget.json")]
    stamps = ten.stamps(*kept), [path.stat().st_mtime_ns for path in cards]
    since = time.time()
    ten.add("s9", contigs(90, 1))
    del ten.samples["s10"]
    ten.add("s11", contigs(11, 1))
    assert ten.complete() == {"prepare": 2, "embed": 2, "merge": 2, "summary": 1}
    assert {Path(job.log).parent.name for job in ten.jobs(since)} == {"s9", "s11", "logs"}
    assert (ten.stamps(*kept), [path.stat().st_mtime_ns for path in cards]) == stamps
    table = pd.read_csv(ten.results / "summary.tsv", sep="\t")
    assert table["sample"].tolist() == [*TEN[:9], "s11"]


def test_a_run_in_batches_does_the_same(ten: Project) -> None:
    since = time.time()
    ten.add("s1", contigs(0, 5))
    ten.add("s8", contigs(80, 1))
    for batch, sample in (("samples=1/2", "s1"), ("samples=2/2", "s8")):
        done = ten.run("--batch", batch, "samples")
        assert done.returncode == 0, done.stderr
        jobs = [job for job in ten.jobs(since) if job.rule == "merge"]
        assert {Path(job.log).parent.name for job in jobs} == {sample}
        since = time.time()
    assert ten.complete() == {"summary": 1}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    project = Project(tmp_path_factory.mktemp("one"), forks)
    project.add("soil", contigs(1))
    project.complete()
    return project


def rows_of(project: Project) -> tuple[list[str], np.ndarray, dict[str, object]]:
    with h5py.File(project.results / "soil" / "embeddings.h5") as file:
        return file["id"].asstr()[:].tolist(), file["embedding"][:], dict(file.attrs)


def test_fewer_shards_leave_nothing_stale(one: Project) -> None:
    ids, rows, _ = rows_of(one)
    before = one.names_of_shards("soil")
    one.config["shard_tokens"] = 100_000
    assert one.complete() == {"prepare": 1, "embed": 1, "merge": 1, "summary": 1}
    assert len(one.names_of_shards("soil")) == 1 < len(before)
    assert rows_of(one)[0] == ids
    np.testing.assert_allclose(rows_of(one)[1], rows, rtol=0, atol=1e-5)


def test_another_budget_packs_again_and_changes_rounding_alone(one: Project) -> None:
    ids, rows, _ = rows_of(one)
    one.config["token_budget"] = 4096
    assert one.complete() == {"token_budget": 1, "prepare": 1, "embed": 1, "merge": 1, "summary": 1}
    manifest = json.loads((one.work / "soil" / "manifests" / "0001.json").read_text())
    assert manifest["token_budget"] == 4096
    assert rows_of(one)[0] == ids
    np.testing.assert_allclose(rows_of(one)[1], rows, rtol=0, atol=1e-5)


def test_another_chunk_size_asks_for_no_other_budget(one: Project) -> None:
    one.config["chunk_size"] = 300
    assert one.complete() == {"prepare": 1, "embed": 1, "merge": 1, "summary": 1}


def test_another_model_of_the_same_name_embeds_again_and_is_never_mixed(one: Project) -> None:
    ids, rows, attributes = rows_of(one)
    oracle.save_as_fair_esm(oracle.random_model(2, 32, 2, seed=1), one.folder / "tiny.pt")
    done = {"fetch_model": 1, "token_budget": 1, "prepare": 1, "embed": 1, "merge": 1, "summary": 1}
    assert one.complete() == done
    again, moved, of_other = rows_of(one)
    assert again == ids
    assert abs(moved - rows).max(axis=1).min() > 0.01, "every row is of the other model"
    assert of_other["model_sha256"] != attributes["model_sha256"]


def test_what_is_asked_for_runs_again_and_what_follows(one: Project) -> None:
    assert one.complete("--forcerun", "embed") == {"embed": 1, "merge": 1, "summary": 1}
    shard = "out/work/soil/shards/0001.h5"
    assert one.planned("--forcerun", shard) == {"embed": 1, "merge": 1, "summary": 1}
    assert one.planned("--forceall").total() == 6
    assert "Nothing to be done" in one.run().stderr
