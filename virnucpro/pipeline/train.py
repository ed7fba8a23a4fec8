"""train: labelled fragments and their embeddings to a classifier, what it reaches, and a card that says so."""

import json
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from virnucpro.calling.classifier import (
    Classifier,
    Floats,
    contig_inputs,
    frame_inputs,
    probability,
    save_classifier,
)
from virnucpro.calling.evaluation import evaluate
from virnucpro.calling.features import contig_features
from virnucpro.calling.model_card import describe, draw_evaluation, model_card
from virnucpro.calling.requirements import Requirements
from virnucpro.calling.training import (
    ContigFit,
    FrameFit,
    Rows,
    deal_groups,
    fit_contigs,
    fit_frames,
    fit_frames_linear,
    group_weights,
)
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.files import file_digest, write_text
from virnucpro.data.records import read_contigs
from virnucpro.data.tables import read_table, write_table
from virnucpro.errors import UserError
from virnucpro.proteins.table import evidence_of_contigs, read_frames

logger = logging.getLogger(__name__)

FALSE_CALLS = 0.017  # share of the cellular contigs, in cross-validation, that may pass the threshold of a viral call
DOUBTFUL = 0.02  # share of all contigs, in cross-validation, that are left unresolved below that threshold
FEWEST_RESIDUES = 50  # one frame of 150 bp
SHORTEST_JUDGED = 1_500  # bases; what comes from shorter records is learned from, and left out of the figures

_SCORES = [
    "fragment",
    "fasta",
    "record",
    "start",
    "end",
    "label",
    "group",
    "split",
    "length",
    "log_odds",
    "score",
    "call",
]


class Labelled(NamedTuple):
    """Fragments and their frames.

    Attributes:
        fragments: by name; columns as fragment wrote them, `length`, `viral` (0 or 1) and `fold` (-1 of the test).
        features: float64 [fragments, features].
        frames: as read_frames gives them, and `viral`, `group`, `host` and `fold` of each one's fragment.
        inputs: float32 [frames, inputs].
        attributes: of the embeddings.
    """

    fragments: pd.DataFrame
    features: Floats
    frames: pd.DataFrame
    inputs: Rows
    attributes: dict[str, str | int]

    def contig_inputs(self, log_odds: Floats) -> Floats:
        """Return what the regression sees of all fragments, from the log-odds of all frames, [frames, experts]."""
        evidence = evidence_of_contigs(self.frames, log_odds)
        total = pd.DataFrame(evidence["total"].tolist(), index=evidence.index).reindex(self.fragments.index)
        counted = evidence["counted"].reindex(self.fragments.index)
        return contig_inputs(total.fillna(0).to_numpy(), counted.fillna(0), self.features)


def train(training: Path, sheet: Path, output_dir: Path, chunk_size: int, short_chunks: list[int], seed: int) -> None:
    """Train a classifier on the fragments of a training, test it on the groups held out, and write what came of it.

    Writes into `output_dir`: classifier.safetensors; metrics.json; scores.tsv, with the log-odds and the call of every
    fragment, those for training by what has not seen their group; evaluation.svg; model_card.md.

    Args:
        training: folder with fragments.fna.gz and fragments.tsv, and what prepare and merge made of them.
        sheet: the table of labelled files.
        output_dir: folder for the results.
        chunk_size, short_chunks: of the frames, in bases.
        seed: of all that is random.

    Raises:
        UserError: the embeddings are of several layers, or not those of the fragments.
    """
    labelled = _read(training, seed)
    fragments, frames = labelled.fragments, labelled.frames
    seen = (fragments["fold"] >= 0).to_numpy()

    known = (frames["fold"] >= 0).to_numpy()
    viral, fold = (frames.loc[known, name].to_numpy(np.int64) for name in ("viral", "fold"))
    weights = group_weights(frames.loc[known, "group"].to_numpy(str), viral)
    frame_fit = fit_frames(labelled.inputs[known], viral, weights, fold, _experts(frames[known]), seed)
    linear = fit_frames_linear(labelled.inputs[known], viral, weights, fold)
    contig_fit = _fit_contigs(labelled, known, frame_fit.log_odds)
    linear_fit = _fit_contigs(labelled, known, linear)

    requirements = _requirements(labelled, contig_fit, chunk_size, short_chunks)
    classifier = _assemble(frame_fit, contig_fit, requirements)
    save_classifier(classifier, output_dir / "classifier.safetensors")

    by_classifier = labelled.contig_inputs(classifier.frame_log_odds(labelled.inputs))
    fragments["log_odds"] = classifier.contig_log_odds(by_classifier)
    fragments.loc[seen, "log_odds"] = contig_fit.log_odds
    fragments["score"] = probability(fragments["log_odds"])
    residues = frames.groupby("contig")["residues"].sum().reindex(fragments.index).fillna(0).astype(int)
    columns = zip(fragments["log_odds"], residues, fragments["length"], strict=True)
    fragments["call"] = [classifier.decide(*row)[0] for row in columns]
    judged = {
        "cross-validation": fragments[seen],
        "cross-validation, frames by a linear model": _called_by(linear_fit, fragments[seen]),
        "test": fragments[~seen],
    }
    judged = {name: rows[rows["length"] >= SHORTEST_JUDGED] for name, rows in judged.items()}
    metrics = {name: evaluate(rows, seed) for name, rows in judged.items() if rows["viral"].nunique() == 2}
    shown = "test" if "test" in metrics else "cross-validation"
    write_text(output_dir / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    write_table(fragments[_SCORES].round({"log_odds": 3, "score": 4}), output_dir / "scores.tsv")
    draw_evaluation(judged[shown], output_dir / "evaluation.svg")
    write_text(output_dir / "model_card.md", model_card(classifier, fragments, metrics, file_digest(sheet), seed))
    logger.info("train: %s: %s", shown, describe(metrics[shown]))


def _read(training: Path, seed: int) -> Labelled:
    fragments = read_table(training / "fragments.tsv", "fragment", "fasta", "record", "label", "group", "host", "split")
    fragments = fragments.set_index("fragment", drop=False)
    embeddings = EmbeddingFile(training / "embeddings.h5")
    if len(embeddings.row_shape) > 1:
        raise UserError(f"{embeddings.path}: embeddings of several layers; set layers to one to train a classifier")
    frames = read_frames(training)
    if embeddings.ids != frames["frame"].tolist() or not set(frames["contig"]) <= set(fragments.index):
        raise UserError(
            f"{embeddings.path}: not the embeddings of {training}/fragments.tsv; run the stages before again"
        )
    fragments["length"] = fragments["end"] - fragments["start"]
    fragments["viral"] = (fragments["label"] == "viral").astype(np.int64)
    fragments["fold"] = -1
    seen = fragments["split"] == "train"
    groups, viral = fragments.loc[seen, "group"].to_numpy(str), fragments.loc[seen, "viral"].to_numpy()
    fragments.loc[seen, "fold"] = deal_groups(groups, viral, seed)
    for column in ("viral", "group", "host", "fold"):
        frames[column] = fragments.loc[frames["contig"], column].to_numpy()
    features = {c.name.decode(): contig_features(c.letters) for c in read_contigs(training / "fragments.fna.gz")}
    return Labelled(
        fragments=fragments,
        features=np.array([features[name] for name in fragments.index]),
        frames=frames,
        inputs=frame_inputs(embeddings.rows(np.arange(len(frames))), frames),
        attributes=embeddings.attributes,
    )


def _experts(frames: pd.DataFrame) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    """Return which frames each expert learns from, bool [frames, experts]: all, or those of a host of both labels."""
    labels = frames[frames["host"] != ""].groupby("host")["viral"].nunique()
    hosts = sorted(labels.index[labels == 2])
    return np.column_stack([np.ones(len(frames), bool), *((frames["host"] == host).to_numpy() for host in hosts)])


def _fit_contigs(
    labelled: Labelled, known: "np.ndarray[tuple[int], np.dtype[np.bool_]]", log_odds: Floats
) -> ContigFit:
    """Fit the regression over the fragments for training, from the log-odds of their frames."""
    of_all = np.zeros((len(known), log_odds.shape[1]))
    of_all[known] = log_odds
    seen = (labelled.fragments["fold"] >= 0).to_numpy()
    trained = labelled.fragments[seen]
    viral = trained["viral"].to_numpy()
    weights = group_weights(trained["group"].to_numpy(str), viral)
    return fit_contigs(labelled.contig_inputs(of_all)[seen], viral, weights, trained["fold"].to_numpy(np.int64))


def _called_by(fit: ContigFit, trained: pd.DataFrame) -> pd.DataFrame:
    """Return the fragments for training with the log-odds of another fit, and calls that let the same share pass."""
    viral_from = np.quantile(fit.log_odds[trained["viral"] == 0], 1 - FALSE_CALLS)
    calls = np.where(fit.log_odds >= viral_from, "viral", "cellular")
    return trained.assign(log_odds=fit.log_odds, call=calls)


def _requirements(labelled: Labelled, fit: ContigFit, chunk_size: int, short_chunks: list[int]) -> Requirements:
    """Return the requirements, with thresholds from the log-odds of contigs whose groups were held out."""
    seen = labelled.fragments["fold"] >= 0
    cellular = (labelled.fragments.loc[seen, "viral"] == 0).to_numpy()
    viral_from = float(np.quantile(fit.log_odds[cellular], 1 - FALSE_CALLS))
    below = fit.log_odds[fit.log_odds < viral_from]
    attributes = labelled.attributes
    return Requirements(
        encoder=str(attributes["model"]),
        encoder_sha256=str(attributes["model_sha256"]),
        layer=str(attributes["layer"]),
        pooling=str(attributes["pooling"]),
        chunk_size=chunk_size,
        short_chunks=short_chunks,
        viral_from=round(viral_from, 3),
        cellular_to=round(float(np.quantile(below, 1 - DOUBTFUL * len(fit.log_odds) / len(below))), 3),
        fewest_residues=FEWEST_RESIDUES,
    )


def _assemble(frames: FrameFit, contigs: ContigFit, requirements: Requirements) -> Classifier:
    def stack(name: str) -> Rows:
        return np.array([[n.state_dict()[name].numpy() for n in networks] for networks in frames.networks])

    return Classifier(
        mean=frames.mean,
        scale=frames.scale,
        hidden_weight=stack("0.weight").astype(np.float16),
        hidden_bias=stack("0.bias"),
        output_weight=stack("3.weight")[:, :, 0],
        output_bias=stack("3.bias")[:, :, 0],
        contig_mean=contigs.mean,
        contig_scale=contigs.scale,
        contig_weight=contigs.weight,
        contig_bias=contigs.bias,
        requirements=requirements,
    )
