"""The evaluation of a classifier for people: figures and a model card."""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import expit
from sklearn.metrics import roc_curve

from virnucpro import __version__
from virnucpro.calling import CALLS
from virnucpro.calling.calls import DEFAULT_FDR
from virnucpro.calling.classifier import Classifier
from virnucpro.calling.screen import CELLULAR_TO, WINDOW
from virnucpro.data.files import atomic_path
from virnucpro.training.evaluation import DRAWS, SHARE, SHORTEST, SIZES, reliability
from virnucpro.training.recipe import LOST

COLORS = {"viral": "#c1272d", "cellular": "#3b6ea5"}
SHARE_COLORS = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a")

_interval = "{value:.3f} ({low:.3f} to {high:.3f})".format_map
_percent = "{value:.1%} ({low:.1%} to {high:.1%})".format_map


def draw_evaluation(contigs: pd.DataFrame, samples: pd.DataFrame, path: Path) -> None:
    """Draw curves, reliability, log-odds by length, and estimated shares and fdr of simulated samples, as SVG.

    The contigs have columns `viral` (0 or 1), `label`, `log_odds` and `length`; `samples` is a table of
    `simulate_samples`.
    """
    figure = Figure(figsize=(13, 8), layout="constrained")
    roc, precision, calibration, lengths, shares, rates = figure.subplots(2, 3).T.ravel()
    _draw_curves(contigs, roc, precision)
    _draw_reliability(contigs, calibration)
    for label, rows in contigs.groupby("label"):
        lengths.plot(rows["length"], rows["log_odds"], ".", color=COLORS[str(label)], label=label, markersize=3)
    lengths.set(xlabel="length in kb", ylabel="log-odds", xscale="log", title="Log-odds by length")
    lengths.set_xticks([500, 1000, 2000, 5000, 10_000, 20_000, 40_000], ["0.5", "1", "2", "5", "10", "20", "40"])
    lengths.minorticks_off()
    lengths.legend()
    _draw_samples(samples, shares, rates)
    for axes in (roc, precision, calibration):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "virnucpro"}):
        figure.savefig(temporary, metadata={"Date": None})


def _draw_curves(contigs: pd.DataFrame, roc: Axes, precision: Axes) -> None:
    viral, log_odds = contigs["viral"].to_numpy(), contigs["log_odds"].to_numpy()
    false, found, _ = roc_curve(viral, log_odds)
    roc.plot(false, found, color=COLORS["viral"])
    roc.set(xlabel="cellular contigs called viral", ylabel="viral contigs found", title="ROC")
    for share, style in ((0.5, "-"), (SHARE, "--"), (0.01, ":")):
        right = share * found
        exact = right / np.maximum(right + (1 - share) * false, 1e-12)
        precision.plot(found[1:], exact[1:], style, color=COLORS["viral"], label=f"{share:.0%} viral")
    precision.set(xlabel="viral contigs found", ylabel="viral calls that are right", title="Precision and recall")
    precision.legend()


def _draw_reliability(contigs: pd.DataFrame, axes: Axes) -> None:
    table = reliability(expit(contigs["log_odds"].to_numpy()), contigs["viral"].to_numpy())
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(table["score"], table["viral"], "o-", color=COLORS["viral"])
    for score, viral_proportion, count in table.itertuples(index=False):
        place = (score, viral_proportion)
        axes.annotate(f"{count}", place, textcoords="offset points", xytext=(6, -10), fontsize=8)
    axes.set(xlabel="mean score", ylabel="contigs that are viral", title="Reliability (with numbers of contigs)")


def _draw_samples(samples: pd.DataFrame, shares: Axes, rates: Axes) -> None:
    """Draw a point for each simulated sample: estimated and true share, stated and true fdr."""
    for color, (share, rows) in zip(SHARE_COLORS, samples.groupby("share"), strict=True):
        shares.plot(rows["viral"] / rows["contigs"], rows["estimated"], ".", color=color, markersize=3)
        called = rows[rows["called"] > 0]
        stated, true = (called[name] / called["called"] for name in ("stated", "false"))
        rates.plot(stated, true, ".", color=color, markersize=3, alpha=0.4)
        mean = (rows[name].sum() / max(1, rows["called"].sum()) for name in ("stated", "false"))
        rates.plot(*([value] for value in mean), "o", color=color, label=f"{share:.0%} viral")
    ends = [0.005, 0.7]
    shares.plot(ends, ends, color="0.7", linewidth=1)
    shares.set(xlabel="viral contigs in a simulated sample", ylabel="estimated", xscale="log", yscale="log")
    shares.set_title("Share of viral contigs")
    rates.plot([0, 0.05], [0, 0.05], color="0.7", linewidth=1)
    rates.set(xlabel="stated fdr of the viral calls", ylabel="true", ylim=(-0.01, 0.3), title="False discovery rate")
    rates.legend()


def describe(metrics: Mapping[str, Any]) -> str:
    """Return a one-line summary of the result of `evaluate`."""
    return (
        f"AUROC {_interval(metrics['auroc'])}; {_percent(metrics['found'])} of {metrics['viral']} viral contigs called "
        f"viral, {_percent(metrics['lost'])} called cellular; {_percent(metrics['false'])} of {metrics['cellular']} "
        f"cellular contigs called viral; {_percent(metrics['unresolved'])} of all unresolved"
    )


def model_card(
    classifier: Classifier,
    contigs: pd.DataFrame,
    metrics: Mapping[str, Any],
    shares: Sequence[Mapping[Hashable, float]],
    screened: Mapping[str, Sequence[Mapping[Hashable, Any]]],
    sheet_digest: str,
    seed: int,
) -> str:
    """Return the model card in Markdown.

    Args:
        contigs: Evaluated fragments; columns `group`, `kind`, `viral`, `split`, `call`, `score` and `log_odds`.
        metrics: Results of `evaluate`, by the names of rows.
        shares: Result of `sum_up_samples`.
        screened: `lengths`, the result of `measure_screen`, and `shares`, as above but with the screen; empty without
            a screen.
        sheet_digest: SHA-256 of the table of labeled files.
    """
    requirements = classifier.requirements
    rows = "".join(
        f"| {name} | {m['groups']} | {m['viral']} | {m['cellular']} | {_interval(m['auroc'])} "
        f"| {_percent(m['found'])} | {_percent(m['lost'])} | {_percent(m['false'])} "
        f"| {_percent(m['unresolved'])} | {m['found_at']['0.017']:.1%} |\n"
        for name, m in metrics.items()
    )
    limits = ", ".join(f"{limit:g} from {start:,} bases" for start, limit in requirements.cellular_to)
    networks, hidden, inputs = classifier.hidden_weight.shape
    embedding = requirements.embedding
    read_in = "genes, by pyrodigal-gv"
    if embedding.proteins == "frame":
        sizes = " or ".join(f"{size} bp" for size in (embedding.chunk_size, *embedding.short_chunks))
        read_in = f"the open frames of chunks of {sizes}"
    layers = ", ".join(map(str, embedding.layers))
    return (
        textwrap.dedent(f"""\
        # Model card

        A classifier of contigs, viral or cellular, made by virnucpro {__version__} with seed {seed} from the table of
        labeled files with SHA-256 `{sheet_digest}`.

        - **Encoder**: {embedding.encoder}, SHA-256 `{embedding.encoder_sha256}`; layers: {layers};
          {embedding.pooling} pooling. Contigs are read in {read_in}.
        - **Proteins**: log-odds, the mean of {networks} networks with {inputs} inputs and {hidden} hidden units. The
          inputs are the protein's mean embedding and the logarithm of its residues. Frames of neighboring chunks that
          continue one reading frame share their mean embedding.
        - **Contigs**: a logistic regression. Its first input is the sum of the proteins' log-odds, divided by the
          square root of their number. The sum grows up to {requirements.most_genes} proteins. The second input is their
          mean, weighted by residues. Three inputs describe the arrangement of genes: how far they keep to one strand,
          the proportion of coding bases, and the mean logarithm of their residues. All genes of a contig count, and of
          each chunk the frames of the longest reading frame.
        - **Calls**: a contig is viral if its false discovery rate (fdr) in its sample is at most the requested one and
          its posterior over 0.5. It is cellular up to log-odds of {limits}. In
          cross-validation at most {LOST:.0%} of the viral contigs of that length have such log-odds. Contigs between
          are unresolved. So are contigs under {requirements.tested_from} bases, or with fewer than
          {requirements.fewest_residues} residues in their proteins. A score is the probability of being viral where
          viral and cellular contigs are equally frequent.

        ## Accuracy

        On fragments of {SHORTEST / 1000:g} to 40 kb, called as in a sample with {SHARE:.0%} viral contigs, at an fdr of
        {DEFAULT_FDR:.0%}. In cross-validation each group of organisms is scored by networks, a regression and limits
        that were fitted to other groups. The test groups took no part in training. Found: viral contigs called viral.
        Lost: viral contigs called cellular. False: cellular contigs called viral. Intervals are 95 % confidence
        intervals by resampled groups. The last column gives the proportion of viral contigs above the score that 1.7 %
        of the cellular ones exceed.

        | | groups | viral | cellular | AUROC | found | lost | false | unresolved | found at 1.7 % false |
        |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
        """)
        + rows
        + "\n![Curves, reliability, log-odds by length, and simulated samples](evaluation.svg)\n\n## In samples\n\n"
        + textwrap.dedent(f"""\
        In {DRAWS} simulated samples for each share of viral contigs, of {SIZES[0]} to {SIZES[1]:,} contigs drawn from
        the same fragments. The share is estimated from each sample. Stated and true fdr refer to all viral calls.

        """)
        + _in_samples(shares)
        + _screen(screened)
        + "\n## By kind\n\n"
        + _calls_by(contigs, "kind")
        + "\n## By group\n\n"
        + _calls_by(contigs, "group")
        + "\n## Calibration\n\nThe proportion of contigs with a score that are viral. Both labels weigh the same.\n\n"
        + _calibration(contigs)
    )


def _in_samples(shares: Sequence[Mapping[Hashable, float]]) -> str:
    return "| viral contigs | estimated | stated fdr | true fdr | found |\n|---:|---:|---:|---:|---:|\n" + "".join(
        "| {share:.0%} | {estimated:.1%} | {stated:.1%} | {true:.1%} | {found:.0%} |\n".format_map(row)
        for row in shares
    )


def _screen(screened: Mapping[str, Sequence[Mapping[Hashable, Any]]]) -> str:
    if not screened:
        return ""
    text = textwrap.dedent(f"""
        ## The screen

        Genes whose windows of {WINDOW} genes all have log-odds of at most {CELLULAR_TO:g} by the screen are not
        embedded. AUROC is given without the screen and with it. Lost: viral contigs that are found at 1.7 % false
        calls without the screen, and no longer with it. Spared: residues that are not embedded.

        | groups | length | viral | AUROC | with the screen | lost | spared of cellular | spared of viral |
        |---|---|---:|---:|---:|---:|---:|---:|
        """)
    text += "".join(
        "| {split} | {lengths} | {viral} | {auroc:.4f} | {auroc_screened:.4f} | {lost:.2%} | {spared_cellular:.0%} "
        "| {spared_viral:.1%} |\n".format_map(row)
        for row in screened["lengths"]
    )
    return text + "\nIn the simulated samples, with the screen:\n\n" + _in_samples(screened["shares"])


def _calls_by(contigs: pd.DataFrame, column: str) -> str:
    text = (
        f"| {column} | split | contigs | viral | cellular | unresolved | median log-odds |\n"
        "|---|---|---:|---:|---:|---:|---:|\n"
    )
    for (split, name), rows in contigs.groupby(["split", column]):
        calls = " | ".join(f"{(rows['call'] == call).mean():.0%}" for call in CALLS)
        text += f"| {name} | {split} | {len(rows)} | {calls} | {np.median(rows['log_odds']):.1f} |\n"
    return text


def _calibration(contigs: pd.DataFrame) -> str:
    text = "| score | split | contigs | viral |\n|---|---|---:|---:|\n"
    weights = 1 / contigs.groupby(["split", "viral"])["viral"].transform("size")  # labels have equal weight
    tenths = (contigs["score"] * 10).astype(int).clip(upper=9).map(lambda n: f"{n / 10:.1f} to {(n + 1) / 10:.1f}")
    for (split, tenth), rows in contigs.groupby(["split", tenths]):
        share = np.average(rows["viral"], weights=weights[rows.index])
        text += f"| {tenth} | {split} | {len(rows)} | {share:.0%} |\n"
    return text
