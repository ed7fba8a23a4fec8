"""train: labelled fragments and their embeddings to a classifier, its evaluation and its model card."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from virnucpro.calling.classifier import save_classifier
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import Features
from virnucpro.calling.requirements import Requirements
from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import file_digest, write_text
from virnucpro.data.provenance import begin_writing, checked_input, write_provenance
from virnucpro.data.tables import read_table, write_table
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins
from virnucpro.training.evaluation import SHORTEST, count_by_kind, evaluate
from virnucpro.training.model_card import describe, draw_evaluation, model_card
from virnucpro.training.recipe import fit, label_fragments, score_fragments, thresholds
from virnucpro.training.relatives import spoilt_fragments

logger = logging.getLogger(__name__)

INPUTS = {"fragments.fna.gz": "fragment", "fragments.tsv": "fragment"}  # by the stage that wrote them
INPUTS |= {"prepared/proteins.tsv": "prepare", "prepared/proteins.faa": "prepare"}
OUTPUTS = ("classifier.safetensors", "metrics.json", "scores.tsv", "evaluation.svg", "model_card.md")
FEWEST_RESIDUES = 50
LENGTHS = {"1.5 to 3 kb": (SHORTEST, 3_000), "3 to 10 kb": (3_000, 10_000), "from 10 kb": (10_000, np.inf)}


def train(
    training: Path, embeddings: Path, sheet: Path, output_dir: Path, seed: int, nucleotides: bool = False
) -> None:
    """Train a classifier on labelled fragments, and evaluate it in cross-validation and on the groups for testing.

    Writes into `output_dir`: classifier.safetensors; metrics.json; scores.tsv, log-odds and call of every fragment;
    evaluation.svg; model_card.md. Fragments for training are scored by networks and a regression that
    have not seen their group. Left out, with a warning, are groups for training without any protein, and the fragments
    of `spoilt_fragments`. The embeddings of the frames' nucleotides are trained on as well, if wanted.

    Args:
        training: folder below `work` with fragments.fna.gz and fragments.tsv, and what prepare made of them.
        embeddings: folder with what merge made of them.
        sheet: the table of labelled files.

    Raises:
        UserError: the embeddings are not those of the fragments, or a label has fewer than two groups for training.
    """
    outputs = [output_dir / name for name in OUTPUTS]
    record = training / "train.json"
    inputs = {"sheet": file_digest(sheet)}
    for name, stage in INPUTS.items():
        inputs[Path(name).name] = checked_input(training / name, training / f"{stage}.json", stage)
    proteins = describe_groups(read_proteins(training / "prepared"))
    features = Features(embeddings, training, proteins["protein"].tolist(), nucleotides)
    inputs |= features.inputs
    begin_writing(record, outputs)
    fragments = _read_fragments(training, proteins)
    taken = proteins["contig"].isin(fragments.index).to_numpy()
    labelled = label_fragments(fragments, proteins[taken], features.rows(np.flatnonzero(taken)), seed)

    fitted = fit(labelled, seed)
    viral = labelled.fragments.loc[labelled.trained, "viral"].to_numpy(np.int64)
    viral_from, cellular_to = thresholds(fitted.contigs.log_odds, viral)
    requirements = Requirements(
        embedding=features.description,
        nucleotides=features.nucleotides,
        viral_from=round(viral_from, 3),
        cellular_to=round(cellular_to, 3),
        fewest_residues=FEWEST_RESIDUES,
    )
    classifier = fitted.classifier(requirements)

    scores = score_fragments(labelled, fitted, classifier)
    judged = {"cross-validation": scores[labelled.trained], "test": scores[~labelled.trained]}
    judged = {name: rows[rows["length"] >= SHORTEST] for name, rows in judged.items()}
    for name, rows in list(judged.items()):
        for lengths, limits in LENGTHS.items():
            judged[f"{name}, {lengths}"] = rows[rows["length"].between(*limits, inclusive="left")]
    metrics = {name: evaluate(rows, seed) for name, rows in judged.items() if rows["viral"].nunique() == 2}
    shown = "test" if "test" in metrics else "cross-validation"

    save_classifier(classifier, output_dir / "classifier.safetensors")
    measured = metrics | {"kinds": count_by_kind(judged[shown])}
    write_text(output_dir / "metrics.json", json.dumps(measured, indent=1) + "\n")
    write_table(scores.drop(columns=["viral", "fold"]).round({"log_odds": 3, "score": 4}), output_dir / "scores.tsv")
    draw_evaluation(judged[shown], output_dir / "evaluation.svg")
    write_text(output_dir / "model_card.md", model_card(classifier, scores, metrics, inputs["sheet"], seed))
    write_provenance(record, "train", {"seed": seed}, inputs, outputs)
    logger.info("train: %s: %s", shown, describe(metrics[shown]))


def _read_fragments(training: Path, proteins: pd.DataFrame) -> pd.DataFrame:
    """Return the fragments by name with their `length`, and say which are left out.

    Left out are those of groups that have nothing to learn from, and those that would spoil the training.
    """
    path = training / "fragments.tsv"
    fragments = read_table(path, "fragment", "fasta", "record", "label", "group", "kind", "split")
    fragments = fragments.set_index("fragment", drop=False)
    if not set(proteins["contig"]) <= set(fragments.index):
        raise UserError(f"{path}: not the fragments whose proteins were prepared; run the stages before again")
    learnable = fragments["group"].isin(fragments.loc[proteins["contig"].unique(), "group"])
    unused = (fragments["split"] == "train") & ~learnable
    for group in fragments.loc[unused, "group"].unique():
        logger.warning("train: group %s is left out: none of its fragments has a protein", group)
    fragments = fragments[~unused].assign(length=fragments["end"] - fragments["start"])
    proteins = proteins[proteins["contig"].isin(fragments.index)]
    sequence_of = dict(read_fasta(training / "prepared" / "proteins.faa"))
    sequences = [sequence_of[name] for name in proteins["protein"]]
    for reason, names in spoilt_fragments(fragments, proteins["contig"], sequences).items():
        if names:
            logger.warning("train: %d fragments are left out: %s", len(names), reason)
            fragments = fragments.drop(index=names)
    return fragments
