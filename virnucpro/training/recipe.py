"""Train a classifier on labeled fragments, their proteins and embeddings: networks, a regression and thresholds.

Fragments of training groups are scored only by models that have not seen their group, and thresholds are computed from
these scores. Fragments of test groups are scored by the final classifier.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from virnucpro.calling.calls import reasons_against
from virnucpro.calling.classifier import Classifier, protein_inputs
from virnucpro.calling.evidence import EVIDENCE, evidence_of_contigs
from virnucpro.calling.requirements import CellularTo, Requirements
from virnucpro.data.arrays import Floats, Integers, Mask, Rows
from virnucpro.training.cross_fit import Fitted, deal_groups, fit_contigs, fit_proteins, group_weights
from virnucpro.training.evaluation import CLASSES, call_at_share, class_of_length

LOST = 0.01  # proportion of viral contigs of a length that may be called cellular in cross-validation
NO_LIMIT = -100.0  # log-odds that no contig has


class Labelled(NamedTuple):
    """Labeled fragments and their proteins.

    Attributes:
        fragments: Fragments by name; columns `label`, `group`, `kind` (of organism), `split`, `length`, `viral` (0 or
            1) and `fold` (-1 in test groups).
        proteins: Table of `describe_groups`; `contig` is the name of the fragment.
        inputs: Result of `protein_inputs`, float32 [proteins, inputs].
        most_genes: 99 % quantile of the number of proteins that count in a training fragment.
    """

    fragments: pd.DataFrame
    proteins: pd.DataFrame
    inputs: Rows
    most_genes: int

    @property
    def trained(self) -> Mask:
        """Mask of the training fragments, bool [fragments]."""
        return (self.fragments["fold"] >= 0).to_numpy()

    @property
    def known(self) -> Mask:
        """Mask of the proteins of training fragments, bool [proteins]."""
        return np.asarray(self.fragments.loc[self.proteins["contig"], "fold"] >= 0)

    def evidence(self, log_odds: Floats) -> Floats:
        """Return the evidence of all fragments, float64 [fragments, numbers], from the log-odds of all proteins.

        Fragments without proteins get the mean of the others; they are never called.
        """
        found = evidence_of_contigs(self.proteins, log_odds, self.fragments["length"], self.most_genes)[EVIDENCE]
        return np.asarray(found.reindex(self.fragments.index).fillna(found.mean()), np.float64)


def label_fragments(fragments: pd.DataFrame, proteins: pd.DataFrame, embedding: Rows, seed: int) -> Labelled:
    """Return labeled fragments; training groups are dealt to folds.

    Args:
        fragments: Fragments by name; columns `label`, `group`, `kind` (of organism; the label if empty), `split` and
            `length`.
        proteins: Table of `describe_groups`; `contig` is the name of the fragment.
        embedding: Embeddings, float32 [proteins, embed_dim] or [proteins, layers, embed_dim].

    Raises:
        UserError: A label has fewer than two training groups.
    """
    fragments = fragments.assign(
        viral=(fragments["label"] == "viral").astype(np.int64),
        kind=fragments["kind"].where(fragments["kind"] != "", fragments["label"]),
        fold=-1,
    )
    trained = fragments[fragments["split"] == "train"]
    columns = (trained["group"].to_numpy(str), trained["viral"].to_numpy(), trained["kind"].to_numpy(str))
    fragments.loc[trained.index, "fold"] = deal_groups(*columns, seed)
    counted = proteins.loc[proteins["counts"] & proteins["contig"].isin(trained.index), "contig"]
    most_genes = int(counted.value_counts().quantile(0.99))
    return Labelled(fragments, proteins, protein_inputs(embedding, proteins), most_genes)


class Fit(NamedTuple):
    """Networks fitted to proteins, and a regression fitted to contigs."""

    proteins: Fitted
    contigs: Fitted

    def classifier(self, requirements: Requirements) -> Classifier:
        """Return the classifier with these networks and this regression."""
        return Classifier(**self.proteins.arrays, **self.contigs.arrays, requirements=requirements)


def fit(labelled: Labelled, seed: int, teacher: Floats | None = None) -> Fit:
    """Fit networks to the training proteins, and a regression to their fragments.

    With log-odds of a teacher, float64 [training proteins], the networks learn the mean of label and probability
    (distillation; Hinton et al. 2015, arXiv 1503.02531).
    """
    of_proteins = labelled.fragments.loc[labelled.proteins["contig"]]
    known = labelled.known
    viral, weights, folds = _targets(of_proteins[known])
    target = viral if teacher is None else (viral + expit(teacher)) / 2
    proteins = fit_proteins(labelled.inputs[known], target, weights, folds, seed)
    log_odds = np.zeros(len(known))
    log_odds[known] = proteins.log_odds
    evidence = labelled.evidence(log_odds)[labelled.trained]
    return Fit(proteins, fit_contigs(evidence, *_targets(labelled.fragments[labelled.trained])))


def _targets(rows: pd.DataFrame) -> tuple[Integers, Floats, Integers]:
    """Return labels, weights and folds of rows."""
    viral = rows["viral"].to_numpy(np.int64)
    return viral, group_weights(rows["group"].to_numpy(str), viral), rows["fold"].to_numpy(np.int64)


def cellular_limits(contigs: pd.DataFrame) -> CellularTo:
    """Return, for each class of lengths, its shortest length and the threshold of log-odds for cellular contigs.

    The threshold is the 1 % quantile of the viral contigs of the class, and at most 0. Without viral contigs it is
    -100.

    Args:
        contigs: Columns `viral`, `length` and cross-fitted `log_odds`.
    """
    viral = contigs[contigs["viral"] == 1]
    classes = class_of_length(viral["length"])
    limits = []
    for name, shortest in CLASSES.items():
        log_odds = viral.loc[classes == name, "log_odds"]
        limit = np.quantile(log_odds, LOST, method="lower") if len(log_odds) else NO_LIMIT
        limits.append((shortest, round(min(0.0, float(limit)), 3)))
    return tuple(limits)


def log_odds_of(labelled: Labelled, fitted: Fit, classifier: Classifier) -> tuple[Floats, Floats]:
    """Return log-odds of all proteins and of all fragments, float64; those of the training are cross-fitted."""
    of_proteins = classifier.protein_log_odds(labelled.inputs)
    of_fragments = classifier.contig_log_odds(labelled.evidence(of_proteins))
    of_proteins[labelled.known] = fitted.proteins.log_odds
    of_fragments[labelled.trained] = fitted.contigs.log_odds
    return of_proteins, of_fragments


def score_fragments(labelled: Labelled, log_odds: Floats, requirements: Requirements) -> pd.DataFrame:
    """Return the fragments with `log_odds`, `score`, `residues` (of their proteins) and `call`.

    Thresholds for cellular calls of training fragments are cross-fitted. Training and test fragments are called as two
    samples with 10 % viral contigs each. `log_odds` is of all fragments, by `log_odds_of`.
    """
    residues = labelled.proteins.groupby("contig")["residues"].sum()
    residues = residues.reindex(labelled.fragments.index, fill_value=0)
    scores = labelled.fragments.assign(log_odds=log_odds, score=expit(log_odds), residues=residues, call="unresolved")
    tested = scores[reasons_against(requirements, scores) == ""]
    for fold, rows in tested.groupby("fold"):
        limits = requirements.cellular_to if fold < 0 else cellular_limits(tested[~tested["fold"].isin([fold, -1])])
        together = tested[(tested["fold"] < 0) == (fold < 0)]
        labels = call_at_share(replace(requirements, cellular_to=limits), together)
        scores.loc[rows.index, "call"] = labels.loc[rows.index, "call"]
    return scores
