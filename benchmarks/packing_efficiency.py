"""How full bins are: first-fit decreasing against next-fit, sorted and in input order."""

import itertools

import numpy as np
import numpy.typing as npt
from common import SEED, draw_tokens, fewest_bins, write_result

from virnucpro.data.packing import first_fit_decreasing

KINDS = ("frame", "protein")
BUDGETS = (4096, 16384)
SEQUENCES = (100, 500, 1_000, 2_000, 10_000, 1_000_000)
DRAWS = 20
ONE_DRAW_FROM = 1_000_000


def next_fit(tokens: npt.NDArray[np.int64], budget: int) -> int:
    """Return how many bins it takes if every sequence, in the order given, goes into the last bin or else a new one."""
    ends = np.cumsum(tokens)
    bins = packed = 0
    while packed < ends[-1]:
        packed = ends[np.searchsorted(ends, packed + budget, side="right") - 1]
        bins += 1
    return bins


def count_bins(tokens: npt.NDArray[np.int64], budget: int) -> tuple[int, int, int, int]:
    """Return bins by first-fit decreasing, next-fit decreasing and next-fit in input order, and the fewest possible."""
    first_fit = int(first_fit_decreasing(tokens, budget).max()) + 1
    next_fit_decreasing = next_fit(np.sort(tokens)[::-1], budget)
    return first_fit, next_fit_decreasing, next_fit(tokens, budget), fewest_bins(tokens, budget)


def measure(kind: str, budget: int, sequences: int) -> tuple[str, ...]:
    """Return a row of the table."""
    random = np.random.default_rng(SEED)
    draws = [draw_tokens(kind, sequences, random) for _ in range(DRAWS if sequences < ONE_DRAW_FROM else 1)]
    bins = np.array([count_bins(tokens, budget) for tokens in draws])
    total = np.array([tokens.sum() for tokens in draws])
    efficiency = np.median(total[:, None] / (bins[:, :3] * budget), axis=0)
    over = np.unique(bins[:, 0] - bins[:, 3])
    return (
        *(kind, f"{budget:,}", f"{sequences:,}"),
        *(f"{100 * share:.2f} %" for share in efficiency),
        *(f"{np.median(bins[:, 0]):,.0f}", f"{over[0]}" if len(over) == 1 else f"{over[0]} to {over[-1]}"),
    )


def main() -> None:
    """Write results/packing_efficiency.md."""
    methods = ("first-fit decreasing", "next-fit decreasing", "next-fit, input order")
    header = ("kind", "budget", "sequences", *methods, "first-fit bins", "over ceil(tokens / budget)")
    rows = [measure(*case) for case in itertools.product(KINDS, BUDGETS, SEQUENCES)]
    write_result("packing_efficiency", "Packing efficiency: tokens / (bins x budget)", header, rows)


if __name__ == "__main__":
    main()
