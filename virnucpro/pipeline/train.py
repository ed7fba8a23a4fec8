"""train: train a classifier on labeled fragments and their embeddings, with evaluation and model card."""

import json
import logging
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from virnucpro.calling.calls import reasons_against
from virnucpro.calling.classifier import save_classifier
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import Features
from virnucpro.calling.requirements import Requirements
from virnucpro.config import read_training
from virnucpro.data.files import file_digest, write_text
from virnucpro.data.provenance import begin_writing, checked_input, write_provenance
from virnucpro.data.tables import read_table, write_table
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins, read_residues
from virnucpro.training.evaluation import (
    CLASSES,
    class_of_length,
    count_by_kind,
    evaluate,
    simulate_samples,
    sum_up_samples,
)
from virnucpro.training.model_card import describe, draw_evaluation, model_card
from virnucpro.training.recipe import cellular_limits, fit, label_fragments, log_odds_of, score_fragments
from virnucpro.training.relatives import masked_fragments, spoilt_fragments
from virnucpro.training.screen import fit_screen, measure_screen

logger = logging.getLogger(__name__)

INPUTS = {"fragments.fna.gz": "fragment", "fragments.tsv": "fragment"}  # stages that wrote them
INPUTS |= {"prepared/proteins.tsv": "prepare", "prepared/proteins.faa": "prepare"}
OUTPUTS = ("classifier.safetensors", "metrics.json", "scores.tsv", "evaluation.svg", "model_card.md")
SCREEN = "classifier_screen.safetensors"
FEWEST_RESIDUES = 50
FEW = 200  # viral fragments of a class of lengths; with fewer its threshold is uncertain


def train(
    training: Path, embeddings: Path, sheet: Path, output_dir: Path, seed: int, nucleotides: bool = False
) -> None:
    """Train a classifier on labeled fragments, and evaluate it in cross-validation and on the test groups.

    Writes into `output_dir`: classifier.safetensors; classifier_screen.safetensors for genes; metrics.json; scores.tsv,
    log-odds and call of every fragment; evaluation.svg; model_card.md. Training fragments are scored by networks and a
    regression that have not seen their group. Training groups without a protein and the fragments of
    `spoilt_fragments` are left out, with a warning.

    Args:
        training: Folder below `work` with fragments.fna.gz, fragments.tsv and the files of prepare.
        embeddings: Folder with the files of merge.
        nucleotides: Whether to train on embeddings of the frames' nucleotides, too.

    Raises:
        UserError: The embeddings are of other fragments, or a label has fewer than two training groups.
    """
    record = training / "train.json"
    inputs = {"sheet": file_digest(sheet)}
    for name, stage in INPUTS.items():
        inputs[Path(name).name] = checked_input(training / name, training / f"{stage}.json", stage)
    proteins = describe_groups(read_proteins(training / "prepared"))
    proteins["sequence"] = read_residues(training / "prepared" / "proteins.faa", proteins)
    features = Features(embeddings, training, proteins["protein"].tolist(), nucleotides)
    inputs |= features.inputs
    is_screened = features.description.proteins == "gene"
    outputs = [output_dir / name for name in (*OUTPUTS, *([SCREEN] if is_screened else []))]
    begin_writing(record, outputs)
    fragments = _read_fragments(training, proteins, read_training(sheet, lambda *_: None))
    taken = proteins["contig"].isin(fragments.index).to_numpy()
    labelled = label_fragments(fragments, proteins[taken], features.rows(np.flatnonzero(taken)), seed)

    fitted = fit(labelled, seed)
    cross_fitted = labelled.fragments[labelled.trained].assign(log_odds=fitted.contigs.log_odds)
    _warn_of_few(cross_fitted)
    requirements = Requirements(
        embedding=features.description,
        nucleotides=features.nucleotides,
        cellular_to=cellular_limits(cross_fitted),
        fewest_residues=FEWEST_RESIDUES,
        most_genes=labelled.most_genes,
    )
    classifier = fitted.classifier(requirements)

    of_proteins, of_fragments = log_odds_of(labelled, fitted, classifier)
    scores = score_fragments(labelled, of_fragments, requirements)
    tested = scores[reasons_against(requirements, scores) == ""]
    judged = {"cross-validation": tested[tested["fold"] >= 0], "test": tested[tested["fold"] < 0]}
    shown = "test" if judged["test"]["viral"].nunique() == 2 else "cross-validation"
    for name, rows in list(judged.items()):
        judged[f"{name}, from 1.5 kb"] = rows[rows["length"] >= CLASSES["1.5 to 3 kb"]]
        of_lengths = rows.groupby(class_of_length(rows["length"]))
        judged |= {f"{name}, {lengths}": of_class for lengths, of_class in of_lengths}
    metrics = {name: evaluate(rows, seed) for name, rows in judged.items() if rows["viral"].nunique() == 2}
    samples = simulate_samples(requirements, judged[shown], seed)
    shares = sum_up_samples(samples)

    save_classifier(classifier, output_dir / "classifier.safetensors")
    screened: dict[str, list[dict[Hashable, Any]]] = {}
    if is_screened:
        screen, fragments = fit_screen(labelled, classifier, of_proteins, of_fragments, seed)
        save_classifier(screen, output_dir / SCREEN)
        with_screen = score_fragments(labelled, fragments["after"].to_numpy(), requirements).loc[judged[shown].index]
        metrics[f"{shown}, with the screen"] = evaluate(with_screen, seed)
        in_samples = sum_up_samples(simulate_samples(requirements, with_screen, seed))
        screened = {"lengths": measure_screen(fragments), "shares": in_samples}
    measured = metrics | {"kinds": count_by_kind(judged[shown]), "shares": shares, "screen": screened}
    write_text(output_dir / "metrics.json", json.dumps(measured, indent=1) + "\n")
    written = scores.drop(columns=["viral", "fold", "residues"]).round({"log_odds": 3, "score": 4})
    write_table(written, output_dir / "scores.tsv")
    draw_evaluation(judged[shown], samples, output_dir / "evaluation.svg")
    card = model_card(classifier, tested, metrics, shares, screened, inputs["sheet"], seed)
    write_text(output_dir / "model_card.md", card)
    write_provenance(record, "train", {"seed": seed}, inputs, outputs)
    logger.info("train: %s: %s", shown, describe(metrics[shown]))


def _warn_of_few(contigs: pd.DataFrame) -> None:
    """Warn of classes of lengths with few viral contigs, whose thresholds are uncertain."""
    viral = contigs[contigs["viral"] == 1]
    for name, count in class_of_length(viral["length"]).value_counts(sort=False).items():
        if count < FEW:
            lengths = str(name).removeprefix("from ")
            logger.warning("train: the threshold of cellular calls from %s rests on %d viral fragments", lengths, count)


def _read_fragments(training: Path, proteins: pd.DataFrame, sheet: pd.DataFrame) -> pd.DataFrame:
    """Return the fragments by name with their `length`, and log which are left out.

    Left out are fragments of groups without a protein, masked fragments, and the fragments of `spoilt_fragments`.
    """
    path = training / "fragments.tsv"
    fragments = read_table(path, "fragment", "fasta", "record", "label", "group", "kind", "split")
    fragments = fragments.set_index("fragment", drop=False)
    if not set(proteins["contig"]) <= set(fragments.index):
        raise UserError(f"{path}: not the fragments whose proteins were prepared; run the stages before again")
    learnable = fragments["group"].isin(fragments.loc[proteins["contig"].unique(), "group"])
    unused = (fragments["split"] == "train") & ~learnable
    for group in fragments.loc[unused, "group"].unique():
        logger.warning("train: group %s is left out: its fragments have no protein", group)
    fragments = fragments[~unused].assign(length=fragments["end"] - fragments["start"])
    if masked := masked_fragments(fragments, sheet):
        logger.info("train: %d fragments are left out: the table masks them", len(masked))
        fragments = fragments.drop(index=masked)
    proteins = proteins[proteins["contig"].isin(fragments.index)]
    for reason, names in spoilt_fragments(fragments, proteins).items():
        left_out = fragments.index.intersection(names)
        if len(left_out):
            logger.warning("train: %d fragments are left out: %s", len(left_out), reason)
            fragments = fragments.drop(index=left_out)
    return fragments
