"""train: labelled fragments and their embeddings to a classifier, its evaluation and its model card."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from virnucpro.calling.classifier import save_classifier
from virnucpro.calling.evaluation import SHORTEST, evaluate
from virnucpro.calling.features import contig_features
from virnucpro.calling.model_card import describe, draw_evaluation, model_card
from virnucpro.calling.requirements import Requirements
from virnucpro.calling.training import fit, label_fragments, score_by_linear, score_fragments, thresholds
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.files import file_digest, write_text
from virnucpro.data.records import read_contigs
from virnucpro.data.tables import read_table, write_table
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_frames

logger = logging.getLogger(__name__)

FEWEST_RESIDUES = 50  # one frame of 150 bp


def train(training: Path, sheet: Path, output_dir: Path, chunk_size: int, short_chunks: list[int], seed: int) -> None:
    """Train a classifier on labelled fragments, and evaluate it in cross-validation and on the groups for testing.

    Writes into `output_dir`: classifier.safetensors; metrics.json; scores.tsv, log-odds and call of every fragment;
    evaluation.svg; model_card.md. Fragments for training are scored by networks and a regression that have not seen
    their group. A group for training without any open frame is left out, with a warning.

    Args:
        training: folder with fragments.fna.gz and fragments.tsv, and what prepare and merge made of them.
        sheet: the table of labelled files.
        output_dir: folder for the results.
        chunk_size, short_chunks: of the frames, in bases.
        seed: of all that is random.

    Raises:
        UserError: the embeddings are of several layers, or not those of the fragments; or a label has fewer than two
            groups for training.
    """
    embeddings = EmbeddingFile(training / "embeddings.h5")
    if len(embeddings.row_shape) > 1:
        raise UserError(f"{embeddings.path}: embeddings of several layers; set layers to one to train a classifier")
    frames = read_frames(training)
    fragments = _read_fragments(training / "fragments.tsv", frames)
    if embeddings.ids != frames["frame"].tolist():
        raise UserError(f"{embeddings.path}: not the embeddings of the frames beside it; run the merge stage again")
    features = read_features(training / "fragments.fna.gz", frames).loc[fragments.index].to_numpy()
    labelled = label_fragments(fragments, features, frames, embeddings.rows(np.arange(len(frames))), seed)

    fitted = fit(labelled, seed)
    viral = labelled.fragments.loc[labelled.trained, "viral"].to_numpy(np.int64)
    viral_from, cellular_to = thresholds(fitted.contigs.log_odds, viral)
    requirements = Requirements(
        encoder=str(embeddings.attributes["model"]),
        encoder_sha256=str(embeddings.attributes["model_sha256"]),
        layer=str(embeddings.attributes["layer"]),
        pooling=str(embeddings.attributes["pooling"]),
        chunk_size=chunk_size,
        short_chunks=short_chunks,
        viral_from=round(viral_from, 3),
        cellular_to=round(cellular_to, 3),
        fewest_residues=FEWEST_RESIDUES,
    )
    classifier = fitted.classifier(requirements)

    scores = score_fragments(labelled, fitted, classifier)
    judged = {
        "cross-validation": scores[labelled.trained],
        "cross-validation, frames by a linear model": score_by_linear(labelled, fitted),
        "test": scores[~labelled.trained],
    }
    judged = {name: rows[rows["length"] >= SHORTEST] for name, rows in judged.items()}
    metrics = {name: evaluate(rows, seed) for name, rows in judged.items() if rows["viral"].nunique() == 2}
    shown = "test" if "test" in metrics else "cross-validation"

    save_classifier(classifier, output_dir / "classifier.safetensors")
    write_text(output_dir / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    write_table(
        scores.drop(columns=["host", "viral", "fold"]).round({"log_odds": 3, "score": 4}), output_dir / "scores.tsv"
    )
    draw_evaluation(judged[shown], output_dir / "evaluation.svg")
    write_text(output_dir / "model_card.md", model_card(classifier, scores, metrics, file_digest(sheet), seed))
    logger.info("train: %s: %s", shown, describe(metrics[shown]))


def _read_fragments(path: Path, frames: pd.DataFrame) -> pd.DataFrame:
    """Return the fragments by name with their `length`, without those of groups that have nothing to learn from."""
    fragments = read_table(path, "fragment", "fasta", "record", "label", "group", "host", "split")
    fragments = fragments.set_index("fragment", drop=False)
    if not set(frames["contig"]) <= set(fragments.index):
        raise UserError(f"{path}: not the fragments whose frames were prepared; run the stages before again")
    learnable = fragments["group"].isin(fragments.loc[frames["contig"].unique(), "group"])
    unused = (fragments["split"] == "train") & ~learnable
    for group in fragments.loc[unused, "group"].unique():
        logger.warning("train: group %s is left out: none of its fragments has an open frame", group)
    return fragments[~unused].assign(length=fragments["end"] - fragments["start"])


def read_features(fasta: Path, frames: pd.DataFrame) -> pd.DataFrame:
    """Return the features of all fragments by name, in the genetic code that each one's frames were read in."""
    codes = frames.groupby("contig")["genetic_code"].first()
    contigs = ((contig.name.decode(), contig.letters) for contig in read_contigs(fasta))
    features = {name: contig_features(letters, codes.get(name, 1)) for name, letters in contigs}
    return pd.DataFrame.from_dict(features, orient="index")
