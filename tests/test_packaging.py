"""What others rely on: pins that agree, a wheel that installs, files that an ecosystem expects."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from virnucpro import __version__

ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch"}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.lower().split("==") for line in lines if not line.startswith("#"))


def test_conda_environment_has_the_pins_of_the_constraints() -> None:
    environment = yaml.safe_load((ROOT / "envs" / "virnucpro.yaml").read_text())
    found = dict(entry.split(" =") for entry in environment["dependencies"] if " =" in entry)
    assert found.pop("python") == "3.12"
    expected = {CONDA_NAMES.get(name, name): version for name, version in pins().items()}
    assert found == {name: expected[name] for name in found}


def test_conda_environment_holds_what_the_stages_import() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {requirement.split(">=")[0].split("[")[0] for requirement in project["dependencies"]}
    environment = yaml.safe_load((ROOT / "envs" / "virnucpro.yaml").read_text())["dependencies"]
    held = {entry.split(" =")[0] for entry in environment}
    # Snakemake and `virnucpro run` start the environment, they do not run in it.
    assert {CONDA_NAMES.get(name, name) for name in needed - {"snakemake", "rich"}} <= held


def test_no_pin_has_a_local_suffix() -> None:
    assert not [version for version in pins().values() if "+" in version]
    assert pins()["torch"] == "2.13.0"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel, and sees what it needs in the one that runs the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for name in ("workflow", "profiles", "envs"):
        paths = [path for path in (ROOT / name).rglob("*") if path.is_file()]
        assert {f"virnucpro/{path.relative_to(ROOT)}" for path in paths} <= held
    python = folder / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True)
    install = [*pip, "--python", python, "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, env=ALONE, cwd=folder, check=True)
    (site,) = (python.parents[1] / "lib").glob("python3*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_path("purelib"))  # of which Python reads no .pth file
    return python.parents[1]


def test_the_wheel_runs_without_the_repository(environment: Path, tmp_path: Path) -> None:
    (site,) = (environment / "lib").glob("python3*/site-packages")
    (tmp_path / "demo.fna.gz").write_bytes((ROOT / "config" / "demo.fna.gz").read_bytes())
    run = {"cwd": tmp_path, "env": ALONE, "capture_output": True, "text": True}
    done = subprocess.run([environment / "bin" / "virnucpro", "run", "demo.fna.gz"], **run)
    assert done.returncode == 0, done.stderr
    assert "2 viral, 15 cellular, 1 unresolved of 18 contigs in 1 sample\n" in done.stdout
    assert str(site) in (tmp_path / "results" / "logs" / "snakemake.log").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.fna.gz", "results"]

    command = [environment / "bin" / "python", "-m", "snakemake", "--snakefile", site / "virnucpro/workflow/Snakefile"]
    command += ["--configfile", tmp_path / "results" / "config.json", "--config", "outdir=other", "--cores", "2"]
    done = subprocess.run(command, **run)
    assert done.returncode == 0, done.stderr
    for name in ("contigs.tsv", "frames.tsv", "viral.fasta.gz", "embeddings.h5", "manifests/0001.json"):
        made, by_hand = (tmp_path / folder / "demo" / name for folder in ("results", "other"))
        assert made.read_bytes() == by_hand.read_bytes(), name


def test_completion_knows_the_stages() -> None:
    virnucpro = Path(sys.executable).parent / "virnucpro"
    environment = os.environ | {"_VIRNUCPRO_COMPLETE": "bash_source"}
    script = subprocess.run([virnucpro], env=environment, capture_output=True, text=True)
    assert subprocess.run(["bash", "-n"], input=script.stdout, text=True).returncode == 0
    environment |= {"_VIRNUCPRO_COMPLETE": "bash_complete", "COMP_WORDS": "virnucpro tok", "COMP_CWORD": "1"}
    assert subprocess.run([virnucpro], env=environment, capture_output=True, text=True).stdout == "plain,token-budget\n"


def test_versions_agree() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_github_runs_the_same_two_commands() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = [step["run"] for step in jobs["test"]["steps"] if "run" in step]
    assert commands == ["make demo", "make test"]
