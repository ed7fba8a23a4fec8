"""Train a classifier on labelled fragments, their proteins and embeddings: networks, a regression and thresholds.

Fragments of groups for training are scored only by models that have not seen their group. The thresholds are taken from
these scores. Groups for testing are scored by the finished classifier.
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

LOST = 0.01  # proportion of the viral contigs of a length that may be called cellular in cross-validation
NO_LIMIT = -100.0  # log-odds that no contig has


class Labelled(NamedTuple):
    """Labelled fragments and their proteins.

    Attributes:
        fragments: by name; columns `label`, `group`, `kind`, `split`, `length`, `viral` (0 or 1) and `fold` (-1 in
            groups for testing).
        proteins: of `describe_groups`; `contig` names the fragment.
        inputs: float32 [proteins, inputs], of `protein_inputs`.
        most_genes: 99 % quantile of the number of proteins that count in a fragment for training.
    """

    fragments: pd.DataFrame
    proteins: pd.DataFrame
    inputs: Rows
    most_genes: int

    @property
    def trained(self) -> Mask:
        """Which fragments are for training, bool [fragments]."""
        return (self.fragments["fold"] >= 0).to_numpy()

    def evidence(self, log_odds: Floats) -> Floats:
        """Return the evidence of all fragments, float64 [fragments, numbers], from the log-odds of all proteins.

        Fragments without proteins, which are not called, have the mean of the others.
        """
        found = evidence_of_contigs(self.proteins, log_odds, self.fragments["length"], self.most_genes)[EVIDENCE]
        return np.asarray(found.reindex(self.fragments.index).fillna(found.mean()), np.float64)


def label_fragments(fragments: pd.DataFrame, proteins: pd.DataFrame, embedding: Rows, seed: int) -> Labelled:
    """Return labelled fragments, those for training dealt to folds by their groups.

    The fragments are by name, with columns `label`, `group`, `kind` (where it is empty, the label is the kind), `split`
    and `length`. The proteins are of `describe_groups`; `contig` names the fragment. Embeddings are float32
    [proteins, embed_dim] or [proteins, layers, embed_dim].

    Raises:
        UserError: a label has fewer than two groups for training.
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
        """Return the classifier that the networks and the regression make."""
        return Classifier(**self.proteins.arrays, **self.contigs.arrays, requirements=requirements)


def fit(labelled: Labelled, seed: int) -> Fit:
    """Fit networks to the proteins for training, and a regression to their fragments."""
    of_proteins = labelled.fragments.loc[labelled.proteins["contig"]]
    known = (of_proteins["fold"] >= 0).to_numpy()
    proteins = fit_proteins(labelled.inputs[known], *_targets(of_proteins[known]), seed)
    log_odds = np.zeros(len(known))
    log_odds[known] = proteins.log_odds
    evidence = labelled.evidence(log_odds)[labelled.trained]
    return Fit(proteins, fit_contigs(evidence, *_targets(labelled.fragments[labelled.trained])))


def _targets(rows: pd.DataFrame) -> tuple[Integers, Floats, Integers]:
    """Return labels, weights and folds of rows."""
    viral = rows["viral"].to_numpy(np.int64)
    return viral, group_weights(rows["group"].to_numpy(str), viral), rows["fold"].to_numpy(np.int64)


def cellular_limits(contigs: pd.DataFrame) -> CellularTo:
    """Return for each class of lengths its shortest length and the log-odds up to which contigs are called cellular.

    The limit is the 1 % quantile of the viral contigs of the class, and at most 0. Without viral contigs it is -100.

    Args:
        contigs: columns `viral`, `length` and cross-fitted `log_odds`.
    """
    viral = contigs[contigs["viral"] == 1]
    classes = class_of_length(viral["length"])
    limits = []
    for name, shortest in CLASSES.items():
        log_odds = viral.loc[classes == name, "log_odds"]
        limit = np.quantile(log_odds, LOST, method="lower") if len(log_odds) else NO_LIMIT
        limits.append((shortest, round(min(0.0, float(limit)), 3)))
    return tuple(limits)


def score_fragments(labelled: Labelled, fitted: Fit, classifier: Classifier) -> pd.DataFrame:
    """Return the fragments with `log_odds`, `score`, `residues` in their proteins, and `call`.

    Log-odds of fragments for training are cross-fitted, and so are the limits of their cellular calls. Fragments for
    training and for testing are called as two samples, each with a tenth of viral contigs.
    """
    log_odds = classifier.contig_log_odds(labelled.evidence(classifier.protein_log_odds(labelled.inputs)))
    log_odds[labelled.trained] = fitted.contigs.log_odds
    residues = labelled.proteins.groupby("contig")["residues"].sum()
    residues = residues.reindex(labelled.fragments.index, fill_value=0)
    scores = labelled.fragments.assign(log_odds=log_odds, score=expit(log_odds), residues=residues, call="unresolved")
    requirements = classifier.requirements
    tested = scores[reasons_against(requirements, scores) == ""]
    for fold, rows in tested.groupby("fold"):
        limits = requirements.cellular_to if fold < 0 else cellular_limits(tested[~tested["fold"].isin([fold, -1])])
        together = tested[(tested["fold"] < 0) == (fold < 0)]
        labels = call_at_share(replace(requirements, cellular_to=limits), together)
        scores.loc[rows.index, "call"] = labels.loc[rows.index, "call"]
    return scores
