"""A run whose results lie in a storage: a job has the files that its rule names, and no others."""

import shutil
from pathlib import Path

import pytest

from tests.workflow.project import Project, contigs
from virnucpro.calling import CALL_FILES

RUN_FILES = {"summary.tsv", "left_out.tsv", "packing.svg", "summary.txt", "report.html"}
RUN_FILES |= {"viral.tsv", "viral.fasta.gz", "virnucpro_mqc.tsv", "virnucpro_stats_mqc.tsv"}


@pytest.mark.skipif(not shutil.which("rsync"), reason="the storage plugin fs copies by rsync: apt-get install rsync")
def test_results_lie_in_the_storage(tmp_path: Path, forks: dict[str, str]) -> None:
    project = Project(tmp_path, forks)
    project.add("soil", contigs(1))
    project.add("gut", contigs(2))
    project.config["shard_tokens"] = 200
    project.add_classifier()
    storage = tmp_path / "storage"
    provider = ["--default-storage-provider", "fs", "--default-storage-prefix", str(storage)]
    storing = [*provider, "--shared-fs-usage", "none"]
    ran = project.complete(*storing)
    assert ran["embed"] > len(project.samples)
    assert [ran[rule] for rule in ("prepare", "merge", "call", "summary")] == [2, 2, 2, 1]
    stored = storage / "out"
    assert {path.name for path in stored.iterdir() if path.is_file()} == RUN_FILES
    page = (stored / "report.html").read_text()
    for sample in project.samples:
        assert {path.name for path in (stored / sample).iterdir()} == {*CALL_FILES, "embeddings.h5"}
        names = [line.split("\t")[0] for line in (stored / sample / "contigs.tsv").read_text().splitlines()[1:]]
        assert len(names) == 6
    assert ">12 contigs, " in page
    left = [path for path in project.results.rglob("*") if path.is_file()]
    assert left == [project.work / "run.lock"], "nothing else of the results lies here"
    assert not list((tmp_path / ".snakemake" / "storage").rglob("*.h5"))
    assert project.planned(*storing) == {}
    project.config["prior"] = 0.1
    assert project.planned(*storing) == {"call": 2, "summary": 1}
    (storage / "out" / "work" / "soil" / "prepared" / "proteins.faa").unlink()
    ran = project.complete(*storing)
    assert ran["prepare"] == 1, "a lost file that is needed is made again"
    assert ran["call"] == 2
