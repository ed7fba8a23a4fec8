"""How long first-fit decreasing takes for millions of natural proteins, on one thread."""

import argparse
import statistics
import time

import numpy as np
from common import SEED, draw_tokens, fewest_bins, write_result

from virnucpro.data.packing import first_fit_decreasing

BUDGETS = (16384, 4096)


def main() -> None:
    """Time the packing alone, the drawing of lengths excluded, and write results/packing_speed.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    tokens = draw_tokens("protein", options.sequences, np.random.default_rng(SEED))
    rows = []
    for budget in BUDGETS:
        seconds = []
        for _ in range(options.repeats):
            start = time.perf_counter()
            assignment = first_fit_decreasing(tokens, budget)
            seconds.append(time.perf_counter() - start)
        bins, bound = int(assignment.max()) + 1, fewest_bins(tokens, budget)
        time_taken = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        rows.append((f"{budget:,}", time_taken, f"{bins:,}", f"{bound:,}", f"{bins - bound:,}"))
    title = f"Seconds to pack {options.sequences:,} natural proteins, median (range) of {options.repeats}"
    write_result("packing_speed", title, ("budget", "seconds", "bins", "ceil(tokens / budget)", "bins over"), rows)


if __name__ == "__main__":
    main()
