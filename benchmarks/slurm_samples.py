"""Many small samples on a SLURM cluster that this machine plays: how many jobs they are, and how long they take."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from common import write_result
from workflow_scale import many_samples

from tests.workflow.forks import running_server
from tests.workflow.slurm_cluster import running_cluster
from tests.workflow.test_slurm import command, rule_of

CONTIGS = 10
RULES_OF_A_SAMPLE = 4  # prepare and pack, embed, merge, call


def main() -> None:
    """Run the workflow with its profile for SLURM, and write results/slurm_samples.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=500)
    samples = parser.parse_args().samples
    with (
        tempfile.TemporaryDirectory() as temporary,
        running_server(Path(temporary)),
        running_cluster(Path(temporary) / "packages") as cluster,
    ):
        folder = Path(temporary) / "project"
        folder.mkdir()
        project = many_samples(folder, samples, CONTIGS)
        environment = cluster.environment | {"PATH": f"{temporary}:{cluster.environment['PATH']}"}
        start = time.perf_counter()
        log = folder / "log"
        with log.open("w") as file:
            done = subprocess.run(command(project), env=environment, stdout=file, stderr=file)
        taken = time.perf_counter() - start
        if done.returncode or len(list(project.results.glob("s*/contigs.tsv"))) != samples:
            sys.exit(log.read_text())
        jobs = Counter(re.sub(r"_\d+", "", rule_of(job)) for job in cluster.jobs().values())
    one_by_one = RULES_OF_A_SAMPLE * samples + sum(count for rule, count in jobs.items() if rule == "token_budget")
    of_each = ", ".join(f"{count} {rule}" for rule, count in jobs.most_common())
    row = (f"{samples:,}", f"{jobs.total():,}", of_each, f"{one_by_one:,}", f"{taken:.0f}", f"{taken / samples:.2f}")
    header = ("samples", "jobs", "of these", "without groups", "seconds", "a sample")
    note = (
        f"Samples of {CONTIGS} contigs of 150 bases, by profiles/slurm as it is. All nodes are this machine of "
        f"{os.cpu_count()} cores. The stages, and the Snakemake that each job starts, are forks of a process that has "
        "loaded them."
    )
    write_result("slurm_samples", "Small samples on a SLURM cluster", header, [row], note)


if __name__ == "__main__":
    main()
