"""How the workflow grows with the number of samples and of contigs, and how much of it is Snakemake itself."""

import argparse
import os
import random
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common import SEED, write_result

from tests.workflow.project import ENVIRONMENT, Project

# In place of Python in the jobs: copies what the stage made of another sample, so that what remains is Snakemake.
COPYING_PYTHON = """#!/bin/sh
made={made}
case $3 in
prepare) mkdir -p "$5" && cp "$made"/prepared/* "$5" ;;
pack) cp -r "$made"/manifests "$made"/duplicates.tsv "$made"/manifests.provenance.json "$4" ;;
embed) cp "$made"/shards/0001.h5 "$6" && cp "$made"/shards/0001.json "${{6%.h5}}.json" ;;
merge) cp "$made"/embeddings.h5 "$made"/embeddings.provenance.json "$4" ;;
*) exec {python} "$@" ;;
esac
"""


@dataclass
class Run:
    """Seconds of a core that a run took, with all its jobs and of Snakemake's own process, and how many jobs it had."""

    whole: float
    own: float
    jobs: int


def main() -> None:
    """Run the workflow at every size, and write results/workflow_scale.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="*", default=[1, 10, 100], help="with every stage at work")
    parser.add_argument("--copied", type=int, nargs="*", default=[10, 100, 1000], help="with stages that only copy")
    parser.add_argument("--contigs", type=int, nargs="*", default=[1_000_000], help="in one sample")
    options = parser.parse_args()
    rows = [measure(samples, 10) for samples in options.samples]
    rows += [measure(samples, 10, copied=True) for samples in options.copied]
    rows += [measure(1, contigs) for contigs in options.contigs]
    header = ("samples", "contigs each", "stages", "jobs", "whole", "Snakemake", "again", "files", "metadata")
    write_result("workflow_scale", "Seconds of a core that a run takes", header, rows)


def measure(samples: int, contigs: int, copied: bool = False) -> tuple[str, ...]:
    """Return a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        project.config["shard_tokens"] = 4_000_000
        project.add("s1", random_contigs(contigs))
        environment = ENVIRONMENT
        if copied:
            run(project, ENVIRONMENT)
            environment = copying_environment(project)
        for number in range(2, samples + 1):
            (project.folder / f"s{number}.fa").symlink_to("s1.fa")
            project.samples[f"s{number}"] = "contigs"
        first, again = run(project, environment), run(project, environment)
        files = sum(path.is_file() for path in project.results.rglob("*"))
        metadata = sum(path.is_file() for path in (project.folder / ".snakemake" / "metadata").rglob("*"))
    figures = (f"{first.whole:.1f}", f"{first.own:.1f}", f"{again.whole:.1f}", f"{files:,}", f"{metadata:,}")
    row = (f"{samples:,}", f"{contigs:,}", "copied" if copied else "real", f"{first.jobs:,}", *figures)
    print(*row, sep="\t", file=sys.stderr)  # each takes minutes
    return row


def random_contigs(number: int) -> str:
    """Return contigs of 150 bases, of which one in two has an open frame."""
    rng = random.Random(SEED)
    return "".join(f">c{index}\n{''.join(rng.choices('ACGT', k=150))}\n" for index in range(number))


def copying_environment(project: Project) -> dict[str, str]:
    """Return the environment in which the stages copy what was made of the first sample."""
    made = project.folder / "made"
    shutil.copytree(project.results / "s1", made)
    python = project.folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(COPYING_PYTHON.format(made=shlex.quote(str(made)), python=shlex.quote(sys.executable)))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return ENVIRONMENT | {"PATH": f"{python.parent}:{ENVIRONMENT['PATH']}"}


def run(project: Project, environment: dict[str, str]) -> Run:
    """Run the workflow to its end."""
    project.write()
    log = project.folder / "log"
    with log.open("w") as file:
        command = project.command("--resources", "gpu=2")
        snakemake = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        own = 0.0
        while not (ended := os.wait4(snakemake.pid, os.WNOHANG))[0]:
            own = own_seconds(snakemake.pid)
            time.sleep(0.02)
    _, status, used = ended
    if status:
        sys.exit(log.read_text())
    return Run(used.ru_utime + used.ru_stime, own, log.read_text().count("Finished jobid"))


def own_seconds(process: int) -> float:
    """Return the seconds of a core that a process has taken without its children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, proc(5)


if __name__ == "__main__":
    main()
