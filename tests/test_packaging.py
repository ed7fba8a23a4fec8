"""What others rely on: pins that agree, a wheel that installs, files that an ecosystem expects."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from virnucpro import __version__

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
    # Snakemake starts the environment, it does not run in it.
    assert {CONDA_NAMES.get(name, name) for name in needed - {"snakemake"}} <= held


def test_no_pin_has_a_local_suffix() -> None:
    assert not [version for version in pins().values() if "+" in version]
    assert pins()["torch"] == "2.13.0"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert "virnucpro/data/manifest.schema.json" in held
    paths = (ROOT / "workflow").rglob("*")
    assert {f"virnucpro/{path.relative_to(ROOT)}" for path in paths if path.is_file()} <= held
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def test_the_wheel_runs_without_the_repository(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">a\n" + "GCC" * 100 + "\n")
    environment = os.environ | {"PYTHONPATH": str(installed)}
    code = "import virnucpro.config as c; print(c.__file__, c.DEFAULTS['chunk_size'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{installed}/virnucpro/config.py 500\n", done.stderr
    command = [sys.executable, "-m", "virnucpro"]
    run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    assert subprocess.run([*command, "--version"], **run).stdout == f"virnucpro {__version__}\n"
    assert subprocess.run([*command, "prepare", "a.fa", "prepared"], **run).returncode == 0
    budget = '{"token_budget": 256, "precision": "float32", "model": {"name": "m", "sha256": "%s"}}' % ("0" * 64)
    (tmp_path / "budget.json").write_text(budget)
    done = subprocess.run([*command, "pack", "prepared/proteins.faa", "budget.json", ".", "--sample", "a"], **run)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "manifests" / "0001.json").exists()


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
