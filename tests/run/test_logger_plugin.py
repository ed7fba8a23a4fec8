"""The logger plugin in a real Snakemake: its events, and that Snakemake stops when the reader ends."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.workflow.project import wait_for

SNAKEFILE = """
rule all:
    input: "good.txt", "bad.txt"
    localrule: True
rule good:
    output: "good.txt"
    log: "good.log"
    shell: "echo > {output}"
rule bad:
    output: "{name}d.txt"
    shell: "sleep $SECONDS_TO_SLEEP; exit 3"
"""


def start(folder: Path, seconds: int, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start Snakemake; return its process, and the pipe with its events."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2", "--logger", "virnucpro"]
    process = subprocess.Popen(
        [*command, "--logger-virnucpro-fd", str(writer)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SECONDS_TO_SLEEP": str(seconds)},
        pass_fds=[writer],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(writer)
    return process, reader


def running(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def events(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    process, reader = start(folder, 0, *arguments)
    with os.fdopen(reader) as stream:
        read = [json.loads(line) for line in stream]
    assert process.wait(600) == (0 if "-n" in arguments else 1)
    return read


def test_events_of_a_run(tmp_path: Path) -> None:
    read = events(tmp_path, "--keep-going")
    assert [event["stats"] for event in read if event["event"] == "run_info"] == [
        {"all": 1, "good": 1, "bad": 1, "total": 3}
    ]
    announced = {event["rule_name"]: event for event in read if event["event"] == "job_info"}
    assert announced.keys() == {"good", "bad"}
    assert announced["good"]["log"] == ["good.log"]
    assert announced["good"]["reason"] == "Missing output files: good.txt"
    assert announced["bad"]["wildcards"] == {"name": "ba"}
    assert [event["job_id"] for event in read if event["event"] == "job_finished"] == [announced["good"]["jobid"]]
    assert [event["jobid"] for event in read if event["event"] == "job_error"] == [announced["bad"]["jobid"]]
    assert all(abs(event["time"] - time.time()) < 600 for event in read)


def test_events_of_a_dry_run_and_of_an_error(tmp_path: Path) -> None:
    assert {event["rule_name"] for event in events(tmp_path, "-n") if event["event"] == "job_info"} >= {"good", "bad"}
    (error,) = [event for event in events(tmp_path, "absent") if event["event"] == "error"]
    assert "MissingRuleException" in error["message"]


def test_snakemake_and_its_jobs_end_with_who_listens(tmp_path: Path) -> None:
    process, reader = start(tmp_path, 3600)
    wait_for(lambda: any(command.startswith("sleep 3600") for command in running(tmp_path)))
    os.close(reader)
    assert process.wait(600) != 0
    wait_for(lambda: not running(tmp_path))


def test_the_plugin_alone_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "-n", "--logger", "virnucpro"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "--logger-virnucpro-fd" in done.stderr
