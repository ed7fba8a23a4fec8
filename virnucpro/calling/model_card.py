"""What a training reached, for people: a picture and a model card."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from virnucpro import __version__
from virnucpro.calling.classifier import Classifier, probability
from virnucpro.calling.evaluation import reliability
from virnucpro.data.files import atomic_path

COLOURS = {"viral": "#c1272d", "cellular": "#3b6ea5"}


def draw_evaluation(contigs: pd.DataFrame, path: Path) -> None:
    """Draw the ROC and precision-recall curves, the reliability, and the scores by length, as SVG.

    Args:
        contigs: columns `viral` (0 or 1), `label`, `log_odds` and `length`.
        path: the picture.
    """
    viral, log_odds = contigs["viral"].to_numpy(), contigs["log_odds"].to_numpy()
    figure = Figure(figsize=(9, 8), layout="constrained")
    roc, precision, calibration, lengths = figure.subplots(2, 2).ravel()
    false, found, _ = roc_curve(viral, log_odds)
    roc.plot(false, found, color=COLOURS["viral"])
    roc.set(xlabel="cellular contigs called viral", ylabel="viral contigs found", title="ROC")
    exact, recall, _ = precision_recall_curve(viral, log_odds)
    precision.plot(recall, exact, color=COLOURS["viral"])
    precision.set(xlabel="viral contigs found", ylabel="share of calls that are right", title="Precision and recall")
    table = reliability(probability(log_odds), viral)
    calibration.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    calibration.plot(table["score"], table["viral"], "o-", color=COLOURS["viral"])
    for score, share, count in zip(table["score"], table["viral"], table["contigs"], strict=True):
        calibration.annotate(f"{count}", (score, share), textcoords="offset points", xytext=(6, -10), fontsize=8)
    calibration.set(xlabel="mean score", ylabel="share that is viral", title="Reliability (contigs a point)")
    for label, rows in contigs.groupby("label"):
        lengths.plot(rows["length"], rows["log_odds"], ".", color=COLOURS[str(label)], label=label, markersize=4)
    lengths.set(xlabel="length in kb", ylabel="log-odds", xscale="log", title="Score by length")
    lengths.set_xticks([2000, 5000, 10_000, 20_000, 40_000], ["2", "5", "10", "20", "40"])
    lengths.minorticks_off()
    lengths.legend()
    for axes in (roc, precision, calibration):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "virnucpro"}):
        figure.savefig(temporary, metadata={"Date": None})


def describe(metrics: Mapping[str, Any]) -> str:
    """Return in a line what calls are worth."""
    return (
        f"AUROC {_interval(metrics['auroc'])}, {_percent(metrics['found'])} of {metrics['viral']} viral contigs found, "
        f"{_percent(metrics['false'])} of {metrics['cellular']} cellular ones called viral, "
        f"{_percent(metrics['unresolved'])} unresolved"
    )


def model_card(
    classifier: Classifier, contigs: pd.DataFrame, metrics: Mapping[str, Any], sheet_digest: str, seed: int
) -> str:
    """Return the model card in Markdown.

    Args:
        classifier: the one described.
        contigs: all fragments, columns `label`, `group`, `split`, `length`, `call`, `log_odds`.
        metrics: by name, of `evaluate`.
        sheet_digest: SHA-256 of the table of labelled files.
        seed: that it was trained with.
    """
    requirements = classifier.requirements
    rows = "\n".join(
        f"| {name} | {m['groups']} | {m['viral']} | {m['cellular']} | {_interval(m['auroc'])} "
        f"| {_interval(m['average_precision'])} | {_percent(m['found'])} | {_percent(m['false'])} "
        f"| {_percent(m['unresolved'])} | {m['found_at']['0.017']:.1%} |"
        for name, m in metrics.items()
    )
    hidden = classifier.hidden_weight.shape
    short = " or ".join(f"{size} bp" for size in requirements.short_chunks) or "no other size"
    return (
        textwrap.dedent(f"""\
        # Model card

        A classifier of contigs, viral or cellular, made by virnucpro {__version__} with seed {seed} from the table of
        labelled files with SHA-256 `{sheet_digest}`.

        - **Encoder**: {requirements.encoder}, SHA-256 `{requirements.encoder_sha256}`, layer {requirements.layer},
          {requirements.pooling} pooling; chunks of {requirements.chunk_size} bp, and of {short} where these have no
          open frame.
        - **Frames**: {hidden[0]} experts (for all organisms, and for those of each kind of host), each the mean of
          {hidden[1]} networks, {hidden[3]} inputs, {hidden[2]} hidden units. Inputs are the mean embedding of the frame
          group that a frame is part of (frames of neighbouring chunks in one phase), the log of its residues, its
          length relative to the longest group in the chunk, and how many frames are open there.
        - **Contigs**: a logistic regression over the evidence of the longest frame group in every chunk, the share of
          the contig that its longest open reading frame takes, and the difference between its strands in long open
          reading frames.
        - **Calls**: viral from log-odds of {requirements.viral_from}, cellular up to {requirements.cellular_to},
          unresolved in between and with fewer than {requirements.fewest_residues} residues in open frames. Scores take
          both classes as equally frequent.

        ## What it reaches

        On fragments of 1.5 to 40 kb. In cross-validation whole groups of organisms are held out; the groups of the test
        are in no fold. Intervals hold 95 %. The last column moves the threshold to where 1.7 % of the cellular contigs
        pass.

        | | groups | viral | cellular | AUROC | average precision | found | false | unresolved | found at 1.7 % false |
        |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
        """)
        + rows
        + "\n\n![Curves, reliability and scores by length](evaluation.svg)\n\n## By group\n\n"
        + _by_group(contigs)
    )


def _by_group(contigs: pd.DataFrame) -> str:
    lines = ["| group | split | contigs | called viral | median log-odds |", "|---|---|---:|---:|---:|"]
    for (split, group), rows in contigs.groupby(["split", "group"]):
        called = (rows["call"] == "viral").mean()
        lines.append(f"| {group} | {split} | {len(rows)} | {called:.0%} | {np.median(rows['log_odds']):.1f} |")
    return "\n".join(lines) + "\n"


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def _percent(value: Mapping[str, float]) -> str:
    return f"{value['value']:.1%} ({value['low']:.1%} to {value['high']:.1%})"
