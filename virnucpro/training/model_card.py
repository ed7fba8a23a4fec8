"""The evaluation of a classifier for people: a picture and a model card."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit
from sklearn.metrics import precision_recall_curve, roc_curve

from virnucpro import __version__
from virnucpro.calling.classifier import Classifier
from virnucpro.data.files import atomic_path
from virnucpro.training.evaluation import reliability

COLORS = {"viral": "#c1272d", "cellular": "#3b6ea5"}

_interval = "{value:.3f} ({low:.3f} to {high:.3f})".format_map
_percent = "{value:.1%} ({low:.1%} to {high:.1%})".format_map


def draw_evaluation(contigs: pd.DataFrame, path: Path) -> None:
    """Draw the ROC curve, precision and recall, the reliability of scores, and log-odds by length, as SVG.

    The table has columns `viral` (0 or 1), `label`, `log_odds` and `length`.
    """
    viral, log_odds = contigs["viral"].to_numpy(), contigs["log_odds"].to_numpy()
    figure = Figure(figsize=(9, 8), layout="constrained")
    roc, precision, calibration, lengths = figure.subplots(2, 2).ravel()
    false, found, _ = roc_curve(viral, log_odds)
    roc.plot(false, found, color=COLORS["viral"])
    roc.set(xlabel="cellular contigs called viral", ylabel="viral contigs found", title="ROC")
    exact, recall, _ = precision_recall_curve(viral, log_odds)
    precision.plot(recall, exact, color=COLORS["viral"])
    precision.set(xlabel="viral contigs found", ylabel="viral calls that are right", title="Precision and recall")
    table = reliability(expit(log_odds), viral)
    calibration.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    calibration.plot(table["score"], table["viral"], "o-", color=COLORS["viral"])
    for score, viral_proportion, count in table.itertuples(index=False):
        place = (score, viral_proportion)
        calibration.annotate(f"{count}", place, textcoords="offset points", xytext=(6, -10), fontsize=8)
    calibration.set(xlabel="mean score", ylabel="contigs that are viral", title="Reliability (with numbers of contigs)")
    for label, rows in contigs.groupby("label"):
        lengths.plot(rows["length"], rows["log_odds"], ".", color=COLORS[str(label)], label=label, markersize=4)
    lengths.set(xlabel="length in kb", ylabel="log-odds", xscale="log", title="Log-odds by length")
    lengths.set_xticks([2000, 5000, 10_000, 20_000, 40_000], ["2", "5", "10", "20", "40"])
    lengths.minorticks_off()
    lengths.legend()
    for axes in (roc, precision, calibration):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "virnucpro"}):
        figure.savefig(temporary, metadata={"Date": None})


def describe(metrics: Mapping[str, Any]) -> str:
    """Return a line that sums up what `evaluate` found."""
    return (
        f"AUROC {_interval(metrics['auroc'])}, {_percent(metrics['found'])} of {metrics['viral']} viral contigs found, "
        f"{_percent(metrics['false'])} of {metrics['cellular']} cellular ones called viral, "
        f"{_percent(metrics['unresolved'])} unresolved"
    )


def model_card(
    classifier: Classifier, contigs: pd.DataFrame, metrics: Mapping[str, Any], sheet_digest: str, seed: int
) -> str:
    """Return the model card in Markdown, with what `evaluate` found, by the names of rows.

    The contigs are all fragments, columns `group`, `kind`, `viral`, `split`, `call`, `score` and `log_odds`; the digest
    is the SHA-256 of the table of labelled files.
    """
    requirements = classifier.requirements
    rows = "".join(
        f"| {name} | {m['groups']} | {m['viral']} | {m['cellular']} | {_interval(m['auroc'])} "
        f"| {_interval(m['average_precision'])} | {_percent(m['found'])} | {_percent(m['false'])} "
        f"| {_percent(m['unresolved'])} | {m['found_at']['0.017']:.1%} |\n"
        for name, m in metrics.items()
    )
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
        labelled files with SHA-256 `{sheet_digest}`.

        - **Encoder**: {embedding.encoder}, SHA-256 `{embedding.encoder_sha256}`; layers: {layers};
          {embedding.pooling} pooling. Contigs are read in {read_in}.
        - **Proteins**: log-odds, the mean of {networks} networks with {inputs} inputs and {hidden} hidden units. The
          inputs are the protein's mean embedding, of a frame that of all frames of neighboring chunks that continue
          one reading frame, and the logarithm of its residues.
        - **Contigs**: a logistic regression over the sum of its proteins' log-odds, divided by the square root of their
          number, and over their mean, weighted by residues. Of a chunk the frames of the longest reading frame count,
          of genes all.
        - **Calls**: viral from log-odds of {requirements.viral_from}, cellular up to {requirements.cellular_to}. In
          between, and with fewer than {requirements.fewest_residues} residues in its proteins, a contig is unresolved.
          A score is the probability of being viral where viral and cellular contigs are equally frequent.

        ## What it reaches

        On fragments of 1.5 to 40 kb. In cross-validation each group of organisms is scored by networks and a regression
        that have not seen it; the groups of the test took no part in training. "Found" are viral contigs called viral,
        "false" are cellular contigs called viral. Intervals are 95 % confidence intervals. The last column says how
        many viral contigs would be found if the threshold let 1.7 % of the cellular ones pass.

        | | groups | viral | cellular | AUROC | average precision | found | false | unresolved | found at 1.7 % false |
        |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
        """)
        + rows
        + "\n![Curves, reliability, and log-odds by length](evaluation.svg)\n\n## By kind\n\n"
        + _calls_by(contigs, "kind")
        + "\n## By group\n\n"
        + _calls_by(contigs, "group")
        + "\n## Calibration\n\nWhat share of the contigs with a score is viral, where both labels weigh the same.\n\n"
        + _calibration(contigs)
    )


def _calls_by(contigs: pd.DataFrame, column: str) -> str:
    text = (
        f"| {column} | split | contigs | called viral | unresolved | median log-odds |\n|---|---|---:|---:|---:|---:|\n"
    )
    for (split, name), rows in contigs.groupby(["split", column]):
        viral, unresolved = ((rows["call"] == call).mean() for call in ("viral", "unresolved"))
        middle = np.median(rows["log_odds"])
        text += f"| {name} | {split} | {len(rows)} | {viral:.0%} | {unresolved:.0%} | {middle:.1f} |\n"
    return text


def _calibration(contigs: pd.DataFrame) -> str:
    text = "| score | split | contigs | viral |\n|---|---|---:|---:|\n"
    weights = 1 / contigs.groupby(["split", "viral"])["viral"].transform("size")  # both labels weigh the same
    tenths = (contigs["score"] * 10).astype(int).clip(upper=9).map(lambda n: f"{n / 10:.1f} to {(n + 1) / 10:.1f}")
    for (split, tenth), rows in contigs.groupby(["split", tenths]):
        share = np.average(rows["viral"], weights=weights[rows.index])
        text += f"| {tenth} | {split} | {len(rows)} | {share:.0%} |\n"
    return text
