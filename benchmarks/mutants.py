"""Mutation test of the rooms data, calling and proteins: the tests run on a random sample of small changes to the code.

mutmut 3 runs a mutant in a fork of a process that has imported torch; cosmic-ray would start Python for each.
The mutants are made in a Git worktree of the last commit, with the settings in pyproject.toml. The worktree is kept:
the same command resumes there, and a larger `--mutants` adds to the sample of the same seed.
"""

import argparse
import os
import random
import re
import subprocess
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path

from common import write_result
from scipy.stats import binomtest

ROOT = Path(__file__).parents[1]
SMALLEST = "virnucpro.proteins.chunking.*"  # a run of this module makes all mutants and times all tests
PROCESSES = 2
SURVIVED = ("survived", "no tests", "timeout")  # a timeout may be a busy machine


def mutmut(folder: Path, *arguments: str, shown: bool = False) -> str:
    """Return what a command of mutmut prints, or show it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}  # the seed orders the tests of a mutant
    command = ["nice", "-n", "15", "mutmut", *arguments]
    stdout = None if shown else subprocess.PIPE
    return subprocess.run(command, cwd=folder, env=environment, check=True, text=True, stdout=stdout).stdout or ""


def run_mutants(folder: Path, names: list[str]) -> None:
    """Run the tests on mutants."""
    mutmut(folder, "run", "--max-children", str(PROCESSES), *names, shown=True)


def read_statuses(folder: Path) -> dict[str, str]:
    """Return the status of every mutant by its name, e.g. `survived` or `not checked`."""
    return dict(line.strip().split(": ") for line in mutmut(folder, "results", "--all", "true").splitlines())


def describe(folder: Path, mutant: str) -> tuple[str, str, str]:
    """Return where a mutant differs from the code, as FILE:LINE, and the changed lines before and after."""
    _, _, path, *diff = mutmut(folder, "show", mutant).splitlines()
    path = path.removeprefix("+++ ").strip()
    before = [line[1:].strip() for line in diff if line.startswith("-")]
    after = [line[1:].strip() for line in diff if line.startswith("+")]
    function = re.split("x_|ǁ", mutant.rpartition("__mutmut_")[0])[-1]
    lines = [line.strip() for line in (folder / path).read_text().splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith(f"def {function}("))
    return f"{path}:{lines.index(before[0], start) + 1}", " ".join(before), " ".join(after)


def code(text: str) -> str:
    """Return text as code in a cell of a Markdown table."""
    return f"`{text}`".replace("|", "\\|")


def main() -> None:
    """Run a sample of mutants, those already run excepted, and write the share that the tests kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=300, help="size of the sample (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sample (default: %(default)s)")
    default = Path(tempfile.gettempdir()) / "virnucpro-mutants"
    parser.add_argument("--folder", type=Path, default=default, help="the worktree (default: %(default)s)")
    options = parser.parse_args()
    folder = options.folder
    if not folder.exists():
        subprocess.run(["git", "worktree", "add", "--detach", folder], cwd=ROOT, check=True)  # noqa: S607
        run_mutants(folder, [SMALLEST])
    names = sorted(read_statuses(folder))
    sample = random.Random(options.seed).sample(names, len(names))[: options.mutants]
    statuses = read_statuses(folder)
    if unchecked := [name for name in sample if statuses[name] == "not checked"]:
        run_mutants(folder, unchecked)
        statuses = read_statuses(folder)
    survivors = [name for name in sample if statuses[name] in SURVIVED]
    killed = len(sample) - len(survivors)
    interval = binomtest(killed, len(sample)).proportion_ci()
    counts = Counter(statuses[name] for name in sample)
    note = (
        f"{date.today()}, seed {options.seed}, {len(sample)} of {len(names):,} mutants: "
        f"{', '.join(f'{count} {status}' for status, count in counts.most_common())}. "
        f"The tests kill {killed / len(sample):.1%} (95 % interval {interval.low:.1%} to {interval.high:.1%})."
    )
    places = sorted(describe(folder, name) for name in survivors)
    rows: list[tuple[str, ...]] = [(place, code(before), code(after)) for place, before, after in places]
    write_result("mutants", "Mutants that survive", ("place", "before", "after"), rows, note)
    print(f"{note}\nTo start anew: git worktree remove --force {folder}")


if __name__ == "__main__":
    main()
