"""Jobs in an image: the arguments of Apptainer. A script replaces Apptainer and runs the command without an image."""

import os
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.run.conftest import Folder

APPTAINER = """#!/bin/bash
[ "$1" = --version ] && echo apptainer version 1.4.5 && exit
# ... IMAGE bash -c COMMAND
echo "${@: -4:1} $APPTAINER_BIND" >>"$APPTAINER_LOG"
exec bash -c "${@: -1}"
"""
PYTHON = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n'  # with the image's copy of the package


def test_jobs_run_in_the_image_and_see_what_they_read(folder: Folder) -> None:
    tools = folder.path / "bin"
    tools.mkdir()
    for name, script in (("apptainer", APPTAINER), ("python", PYTHON)):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    (folder.path / "far").mkdir()
    (folder.path / "image.sif").touch()
    folder.add_proteins("far/p.faa")
    (folder.path / "viruses").mkdir()
    (folder.path / "viruses" / "a.fna").write_text(">a\nACGT\n")
    (folder.path / "p.faa").symlink_to("far/p.faa")
    log = folder.path / "apptainer.log"
    folder.environment |= {"PATH": f"{tools}:{os.environ['PATH']}", "APPTAINER_LOG": str(log)}
    folder.environment |= {"APPTAINER_BIND": "/somewhere"}
    done = folder.run("p.faa", "--type", "proteins", "--container", "image.sif", "--references", "viruses")
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    assert len(lines) == 6
    image, folders = lines[0].split()
    assert image == str(folder.path / "image.sif")
    model = Path(folder.settings[1]).parent
    seen = {folder.path, folder.path / "far", folder.path / "viruses", folder.results, model}
    assert set(map(str, seen)) < set(folders.split(","))
    assert folders.startswith("/somewhere,")


def test_without_apptainer(folder: Folder) -> None:
    folder.add_proteins("p.faa")
    (folder.path / "image.sif").touch()
    done = folder.run("p.faa", "--type", "proteins", "--container", "image.sif")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "virnucpro run: error: WorkflowError: The apptainer or singularity command has to be available in order to use "
        "apptainer/singularity integration."
    ]
    done = folder.run("p.faa", "--type", "proteins", "--container", "images.sif")
    assert done.stderr == (
        "virnucpro run: error: config: container: images.sif: no such file, and no address such as docker://...\n"
    )
