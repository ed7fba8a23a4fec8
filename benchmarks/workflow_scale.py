"""How the workflow grows with the number of samples and of contigs, and how much of it is Snakemake itself."""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common import SEED, write_result

from tests.workflow.forks import running_server
from tests.workflow.project import ENVIRONMENT, Project

SNAKEMAKE = """#!{python}
import sys
from snakemake.cli import main
sys.argv[0] = "snakemake"
sys.executable = "{client}"  # by which the rules start their stages
main()
"""
HEADER = ("samples", "contigs each", "stages", "jobs", "planned", "GB", "run", "Snakemake", "a job", "again", "files")


@dataclass
class Run:
    """Seconds of a core, with all jobs and of Snakemake's process alone; how many jobs; the most memory in GB."""

    whole: float
    own: float
    jobs: int
    gigabytes: float


def main() -> None:
    """Run the workflow at every size, and write results/workflow_scale.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="*", default=[1, 10, 100], help="of ten contigs each")
    forked = "whose stages are forks, not started"
    parser.add_argument("--forked", type=int, nargs="*", default=[1000, 2000], help=forked)
    parser.add_argument("--planned", type=int, nargs="*", default=[10_000], help="that are planned, and not run")
    parser.add_argument("--contigs", type=int, nargs="*", default=[], help="in one sample")
    options = parser.parse_args()
    rows = [measure(samples, 10, "real") for samples in options.samples]
    with tempfile.TemporaryDirectory() as folder, forked_stages(Path(folder)) as environment:
        rows += [measure(samples, 10, "forked", environment) for samples in options.forked]
    rows += [measure(samples, 10, "none") for samples in options.planned]
    rows += [measure(1, contigs, "real") for contigs in options.contigs]
    write_result("workflow_scale", "Seconds of a core that a run takes", HEADER, rows)


def measure(samples: int, contigs: int, stages: str, environment: dict[str, str] = ENVIRONMENT) -> tuple[str, ...]:
    """Return a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        project = many_samples(Path(folder), samples, contigs)
        planned = run(project, environment, "-n")
        row = [f"{samples:,}", f"{contigs:,}", stages, f"{planned.jobs:,}"]
        row += [f"{planned.whole:.1f}", f"{planned.gigabytes:.2f}"]
        if stages != "none":
            first, again = run(project, environment), run(project, environment)
            row += [f"{first.whole:.1f}", f"{first.own:.1f}", f"{first.own / first.jobs:.3f}", f"{again.whole:.1f}"]
            folders = (project.results / "s1", project.work / "s1")
            row.append(f"{sum(path.is_file() for of_sample in folders for path in of_sample.rglob('*'))}")
    row += ["-"] * (len(HEADER) - len(row))
    print(*row, sep="\t", file=sys.stderr)  # each takes minutes
    return tuple(row)


def many_samples(folder: Path, samples: int, contigs: int) -> Project:
    """Return a project of samples of one shard whose contigs are called; all of them have the same file."""
    project = Project(folder)
    project.config["shard_tokens"] = 4_000_000
    project.add_classifier()
    project.add("s1", random_contigs(contigs))
    for number in range(2, samples + 1):
        (folder / f"s{number}.fa").symlink_to("s1.fa")
        project.samples[f"s{number}"] = "contigs"
    return project


def random_contigs(number: int) -> str:
    """Return contigs of 150 bases; one in two has an open frame."""
    rng = random.Random(SEED)
    return "".join(f">c{index}\n{''.join(rng.choices('ACGT', k=150))}\n" for index in range(number))


@contextmanager
def forked_stages(folder: Path) -> Iterator[dict[str, str]]:
    """Yield an environment with its own Snakemake, whose stages are forks of a process that has loaded all modules."""
    real = Path(sys.executable).resolve()
    binaries = folder / "bin"  # beside the packages of this environment, as Python expects it
    binaries.mkdir()
    (folder / "lib").symlink_to(Path(sys.prefix, "lib"))
    (folder / "pyvenv.cfg").write_text(f"home = {real.parent}\n")
    (binaries / "python3").symlink_to(real)
    with running_server(binaries) as environment:
        (binaries / "snakemake").write_text(SNAKEMAKE.format(python=binaries / "python3", client=binaries / "python"))
        yield environment


def run(project: Project, environment: dict[str, str], *arguments: str) -> Run:
    """Run the workflow to its end."""
    project.write()
    log = project.folder / "log"
    with log.open("w") as file:
        command = project.command("--resources", "gpu=2", *arguments)
        snakemake = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        own = 0.0
        while not (ended := os.wait4(snakemake.pid, os.WNOHANG))[0]:
            own = own_seconds(snakemake.pid)
            time.sleep(0.02)
    _, status, used = ended
    if status:
        sys.exit(log.read_text())
    jobs = [line.split()[1] for line in log.read_text().splitlines() if line.startswith("total ")]
    return Run(used.ru_utime + used.ru_stime, own, int(jobs[0]) if jobs else 0, used.ru_maxrss / 1e6)


def own_seconds(process: int) -> float:
    """Return the seconds of a core that a process has taken without its children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, proc(5)


if __name__ == "__main__":
    main()
