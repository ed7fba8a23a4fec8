"""Packaging: pins that agree, a wheel that installs, files that an ecosystem expects."""

import gzip
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import jinja2
import pytest
import yaml
from Bio import SeqIO
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT
from virnucpro import __version__
from virnucpro.calling import CALL_FILES

ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
CONDA_NAMES = {
    "fastjsonschema": "python-fastjsonschema",
    "matplotlib": "matplotlib-base",
    "snakemake": "snakemake-minimal",
    "torch": "pytorch",
}
PLUGIN = "snakemake_logger_plugin_virnucpro"


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
    needed = {re.split(r"[>=]=|\[", requirement)[0] for requirement in project["dependencies"]}
    environment = yaml.safe_load((ROOT / "envs" / "virnucpro.yaml").read_text())["dependencies"]
    held = {entry.split(" =")[0] for entry in environment}
    # Snakemake and `virnucpro run` start the environment, but do not run in it.
    assert {CONDA_NAMES.get(name, name) for name in needed - {"snakemake", "rich"}} <= held


def test_the_recipe_asks_for_what_the_package_does() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    template = jinja2.Template((ROOT / "recipes" / "virnucpro" / "meta.yaml").read_text())
    recipe = yaml.safe_load(template.render(PYTHON="python", pin_subpackage=lambda name, **_: name))
    assert recipe["package"] == {"name": project["name"], "version": __version__}
    (command,) = recipe["build"]["entry_points"]
    assert dict([command.split(" = ")]) == project["scripts"]
    expected = {"python": project["requires-python"], "pip": "", "pygments": ""}
    for requirement in map(Requirement, project["dependencies"]):
        expected[CONDA_NAMES.get(requirement.name, requirement.name)] = str(requirement.specifier)
    found = dict(f"{line} ".split(" ", 1) for line in recipe["requirements"]["run"])
    assert {name: SpecifierSet(versions.strip()) for name, versions in found.items()} == {
        name: SpecifierSet(versions) for name, versions in expected.items()
    }
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert set(built) == {line.replace(" ", "") for line in recipe["requirements"]["host"][2:]}
    assert (recipe["about"]["license"], recipe["build"]["noarch"]) == (project["license"], "python")


def test_the_image_is_built_from_pins_and_from_all_that_the_wheel_holds() -> None:
    lines = (ROOT / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    (base,) = [line.split("=", 1)[1] for line in lines if line.startswith("ARG BASE=")]
    assert re.fullmatch(r"docker\.io/library/debian:[a-z]+-slim@sha256:[0-9a-f]{64}", base)
    assert [line.split()[1] for line in lines if line.startswith("FROM")] == ["${BASE}", "python", "python"]
    (install,) = [line for line in lines if "pip install" in line]
    assert "--constraint /build/source/constraints.txt /build/wheels/*.whl" in install
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    linked = {path.readlink().name for path in (ROOT / "virnucpro").iterdir() if path.is_symlink()}
    needed = {"constraints.txt", "pyproject.toml", "virnucpro", project["readme"], *project["license-files"]}
    assert copied == linked | needed | {PLUGIN}


def test_no_pin_has_a_local_suffix() -> None:
    assert not [version for version in pins().values() if "+" in version]
    assert pins()["torch"] == "2.13.0"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; its dependencies come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    subprocess.run([*pip, "install", "--quiet", "--target", folder / "build", *needed], check=True)
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    tools = os.environ | {"PYTHONPATH": str(folder / "build")}
    subprocess.run([sys.executable, "-c", build, folder], cwd=ROOT, env=tools, stdout=subprocess.DEVNULL, check=True)
    (source,) = folder.glob("*.tar.gz")
    # As on PyPI: from the source archive, so that it is complete, and no build of the repository is mixed in.
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for name in ("virnucpro", PLUGIN, *(f"virnucpro/{link}" for link in ("workflow", "profiles", "envs"))):
        files = [path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if path.is_file()]
        assert {str(path) for path in files if "__pycache__" not in path.parts} <= held
    info = f"virnucpro-{__version__}.dist-info"
    assert {name.partition("/")[0] for name in held} == {"virnucpro", PLUGIN, info}
    assert f"{info}/licenses/LICENSE" in held
    with tarfile.open(source) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if name.count("/") > 1}
    assert folders == {"virnucpro", PLUGIN, "virnucpro.egg-info"}
    python = folder / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True)
    install = [*pip, "--python", python, "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, env=ALONE, cwd=folder, check=True)
    (site,) = (python.parents[1] / "lib").glob("python3*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_path("purelib"))  # Python does not read .pth files in that folder
    return python.parents[1]


def test_the_wheel_runs_without_the_repository(environment: Path, tmp_path: Path) -> None:
    (site,) = (environment / "lib").glob("python3*/site-packages")
    with gzip.open(ROOT / "config" / "demo.fna.gz", "rt") as demo, gzip.open(tmp_path / "demo.fna.gz", "wt") as phages:
        SeqIO.write((record for record in SeqIO.parse(demo, "fasta") if "NC_001" in record.id), phages, "fasta")
    run = {"cwd": tmp_path, "env": ALONE, "capture_output": True, "text": True}
    done = subprocess.run([environment / "bin" / "virnucpro", "run", "demo.fna.gz"], **run)
    assert done.returncode == 0, done.stderr
    assert "2 viral, 0 cellular, 0 unresolved of 2 contigs in 1 sample\n" in done.stdout
    assert str(site) in (tmp_path / "results" / "work" / "logs" / "snakemake.log").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.fna.gz", "results"]

    command = [environment / "bin" / "python", "-m", "snakemake", "--snakefile", site / "virnucpro/workflow/Snakefile"]
    command += ["--configfile", tmp_path / "results/work/config.json", "--config", "outdir=other", "--cores", "2"]
    done = subprocess.run(command, **run)
    assert done.returncode == 0, done.stderr
    for name in (*(f"demo/{name}" for name in (*CALL_FILES[:-1], "embeddings.h5")), "work/demo/manifests/0001.json"):
        made, by_hand = (tmp_path / folder / name for folder in ("results", "other"))
        assert made.read_bytes() == by_hand.read_bytes(), name


def test_snakemake_finds_the_logger_plugin_of_the_wheel(environment: Path, tmp_path: Path) -> None:
    command = [environment / "bin" / "python", "-P", "-m", "snakemake", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=ALONE, capture_output=True, text=True)
    assert "--logger-virnucpro-fd" in done.stdout, done.stderr


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
