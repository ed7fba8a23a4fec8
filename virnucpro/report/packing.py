"""A picture of the packing: what a bin is, what fills it and what stays empty."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from virnucpro.data.files import atomic_path
from virnucpro.data.manifest import read_manifest, tokens_of
from virnucpro.data.packing import SPECIAL_TOKENS

SHOWN = 40  # bins at most; thinner rows could not be told apart
MOST_DRAWN = 1_000_000  # sequences, whose manifests take some ten seconds to read

Tokens = npt.NDArray[np.int32]  # of the sequences of a bin

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "virnucpro",  # ids that do not change from run to run
}
_WIDTH, _ROW = 9.4, 0.15  # inches; the width is 900 pixels in a browser
_SHADES = ListedColormap(mpl.colormaps["viridis_r"](np.linspace(0.08, 0.84, 32)))
_THOUSANDS = "{x:,.0f}"
_SEQUENCES, _PADDING = "#3b7090", "#e08214"
_EMPTY: dict[str, Any] = {"facecolor": "white", "edgecolor": "#888888", "linewidth": 0.7, "clip_on": False}


def draw_packing(manifests: Sequence[Path], output: Path, sequences: int = 0) -> None:
    """Draw the bins of a run, each with its sequences, and beneath them the same sequences as padded batches.

    Only some shards of a large run are drawn; `sequences` is the number of sequences in all manifests. The output's
    suffix is the format, such as .svg or .png. Equal bins give equal bytes.
    """
    shards = len(manifests)
    if sequences > MOST_DRAWN:
        few = np.linspace(0, shards - 1, max(1, shards * MOST_DRAWN // sequences)).round().astype(int)
        manifests = [manifests[index] for index in few]
    budget = 0
    bins_of: dict[str, list[Tokens]] = defaultdict(list)  # by sample: no bin holds sequences of two
    for path in manifests:
        manifest = read_manifest(path)
        budget = manifest["token_budget"]
        for a_bin in manifest["bins"]:
            bins_of[manifest["sample"]].append(np.array(list(map(tokens_of, a_bin["sequences"])), np.int32))
    with mpl.rc_context(_STYLE):
        if bins_of:
            some = f", of {len(manifests):,} of {_count(shards, 'shard')}" if len(manifests) < shards else ""
            figure = _draw_run(bins_of, budget, some)
        else:
            figure = Figure(figsize=(_WIDTH, 1))
            figure.text(0.5, 0.5, "no bins: no contig has an open reading frame", ha="center", va="center")
        with atomic_path(output) as temporary:
            figure.savefig(temporary, dpi=100, metadata={"Date": None} if output.suffix == ".svg" else None)


def pad_batches(tokens: Tokens, budget: int) -> tuple[int, int]:
    """Return how many padded batches sequences make, and the tokens of these, padding included.

    As fair-esm batches: sequences sorted by length, in each batch as many as fit the budget once padded to the longest.
    """
    tokens = np.sort(tokens)
    batches = padded = first = 0
    while first < len(tokens):
        candidates = tokens[first : first + budget // int(tokens[first])]
        sizes = candidates * np.arange(1, len(candidates) + 1)
        taken = int(np.searchsorted(sizes, budget, side="right"))
        padded += int(sizes[taken - 1])
        batches += 1
        first += taken
    return batches, padded


def _draw_run(bins_of: Mapping[str, Sequence[Tokens]], budget: int, some: str) -> Figure:
    bins = [tokens for of_one in bins_of.values() for tokens in of_one]
    batches, padded = np.sum([pad_batches(np.concatenate(of_one), budget) for of_one in bins_of.values()], axis=0)
    rows = _ROW * min(len(bins), SHOWN)
    height = rows + 3
    figure = Figure(figsize=(_WIDTH, height))

    def place(left: float, top: float, width: float, tall: float) -> Axes:
        """Return axes at a place in inches from the upper left."""
        axes = figure.add_axes((left / _WIDTH, 1 - (top + tall) / height, width / _WIDTH, tall / height))
        axes.spines[:].set_visible(False)
        return axes

    shades = ScalarMappable(Normalize(0, max(int(tokens.max()) for tokens in bins) - SPECIAL_TOKENS), _SHADES)
    scale = figure.colorbar(shades, place(6.9, 0.2, 2.1, 0.12), orientation="horizontal")
    scale.set_label("residues", labelpad=1)
    scale.ax.xaxis.set(major_locator=MaxNLocator(4, integer=True), major_formatter=_THOUSANDS)
    _draw_bins(place(0.75, 1.0, 8.25, rows), bins, budget, shades, some)
    _draw_comparison(place(0.75, rows + 1.65, 8.25, 0.85), bins, budget, int(batches), int(padded))
    return figure


def _draw_bins(axes: Axes, bins: Sequence[Tokens], budget: int, shades: ScalarMappable, some: str) -> None:
    opened = np.argsort([-int(tokens.max()) for tokens in bins], kind="stable")  # the order of first-fit decreasing
    shown = np.linspace(0, len(bins) - 1, min(len(bins), SHOWN)).round().astype(int)
    axes.barh(range(len(shown)), budget, **_EMPTY)
    for row, index in enumerate(opened[shown]):
        tokens = bins[index]
        ends = np.cumsum(tokens)
        colours = shades.to_rgba(tokens - SPECIAL_TOKENS)
        last = np.flatnonzero(np.diff(colours, axis=0, append=-1).any(axis=1))  # of each run of one colour
        widths = np.diff(ends[last], prepend=0)
        spans = list(zip(ends[last] - widths, widths, strict=True))
        axes.broken_barh(spans, (row - 0.4, 0.8), facecolors=colours[last])
        cuts = ends[tokens > budget / 200]  # cuts between narrower sequences would hide them
        axes.plot(np.repeat(cuts, 3), np.tile([row - 0.4, row + 0.4, np.nan], len(cuts)), color="white", linewidth=0.6)
    axes.set(xlim=(0, budget), ylim=(len(shown) - 0.5, -0.5), xlabel="tokens", ylabel="bin")
    axes.set_xticks([budget * quarter // 4 for quarter in range(5)])
    axes.xaxis.set_major_formatter(_THOUSANDS)
    labelled = np.unique(np.linspace(0, len(shown) - 1, 5).round().astype(int))
    axes.set_yticks(labelled, [f"{shown[row] + 1:,}" for row in labelled])
    axes.tick_params(axis="y", length=0)

    every = np.concatenate(bins)
    full = 100 * int(every.sum()) / (len(bins) * budget)
    title = f"{_count(len(bins), 'bin')} of {budget:,} tokens, {full:.1f} % full{some}"
    text = (
        f"{_count(len(every), 'sequence')}, {every.sum():,} tokens: the residues, and two more for each sequence.\n"
        "A row is a bin, filled with sequences coloured by length; white is empty."
    )
    if len(shown) < len(bins):
        text += f" Shown: {len(shown)} of the bins, evenly spaced."
    axes.set_title(title, loc="left", pad=46, fontsize=14, fontweight="bold")
    axes.annotate(text, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", color="#444444")


def _draw_comparison(axes: Axes, bins: Sequence[Tokens], budget: int, batches: int, padded: int) -> None:
    tokens = int(np.concatenate(bins).sum())
    share = 100 * (padded - tokens) / padded
    axes.barh((0, 1), (len(bins) * budget, batches * budget), height=0.4, label="empty", **_EMPTY)
    axes.barh((0, 1), (0, padded), height=0.4, color=_PADDING, label="padding")
    axes.barh((0, 1), tokens, height=0.4, color=_SEQUENCES, label="sequences")
    axes.text(0, -0.32, f"Packed: {_count(len(bins), 'bin')}, {tokens:,} tokens, no padding")
    made = f"{_count(batches, 'batch')}, {padded:,} tokens, {share:.1f} % of them padding"
    axes.text(0, 0.68, f"Padded (sorted by length, as fair-esm does): {made}")
    axes.set(xlim=(0, max(len(bins), batches) * budget), ylim=(1.2, -0.8), yticks=[], xlabel="tokens")
    axes.xaxis.set(major_locator=MaxNLocator(5), major_formatter=_THOUSANDS)
    axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.7), ncols=3, frameon=False, reverse=True, handlelength=1)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "es" if noun.endswith("ch") else "s")
