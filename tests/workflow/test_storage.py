"""A run whose results lie in a storage: a job has the files that its rule names, and no others."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.workflow.project import ENVIRONMENT, Project, contigs
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


CONDA = """#!/bin/sh
case "$1" in
info) echo '{"conda_version": "24.7.1", "platform": "linux-64", "root_prefix": "/conda", "conda_prefix": "/conda"}' ;;
config) echo '{"get": {"channel_priority": "strict"}}' ;;
--version) echo conda 24.7.1 ;;
env) for prefix; do :; done; mkdir -p "$prefix/conda-meta" ;;
esac
"""


def test_an_archive_has_all_files_that_a_run_reads(tmp_path: Path) -> None:
    """Snakemake adds the packages of each environment, which conda names; this one names none."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "conda").write_text(CONDA)
    (programs / "activate").touch()
    (programs / "conda").chmod(0o755)
    folder = tmp_path / "project"
    folder.mkdir()
    project = Project(folder, ENVIRONMENT | {"PATH": f"{programs}:{ENVIRONMENT['PATH']}"})
    project.config["proteins"] = "genes"
    project.add_classifier()
    project.add("soil", contigs(1))
    read = ["soil.fa", "soil.gff", "references/a.fa", "metrics.json", "heads.safetensors"]
    (folder / "references").mkdir()
    for name in read[1:]:
        (folder / name).write_text(">a\nACGT\n" if name.endswith(".fa") else "{}")
    (folder / "soil.gff").write_text("##gff-version 3\n")
    project.config |= {"references": "references", "heads": "heads.safetensors"}
    project.write()
    (folder / "samples.tsv").write_text("sample\tfasta\tgenes\nsoil\tsoil.fa\tsoil.gff\n")
    command = project.command("--archive", "whole.tar")
    subprocess.run(command, env=project.environment, check=True, cwd=folder)
    with tarfile.open(folder / "whole.tar") as archive:
        assert {*read, "tiny.pt", "tiny.safetensors"} <= set(archive.getnames())
