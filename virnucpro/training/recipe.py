"""Train a classifier on labelled fragments, their proteins and embeddings: networks, a regression and thresholds.

Fragments of groups for training are scored only by models that have not seen their group. The thresholds are taken from
these scores. Groups for testing are scored by the finished classifier.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from virnucpro.calling.classifier import Classifier, protein_inputs
from virnucpro.calling.evidence import EVIDENCE, evidence_of_contigs
from virnucpro.calling.requirements import Requirements
from virnucpro.data.arrays import Floats, Integers, Mask, Rows
from virnucpro.training.cross_fit import Fitted, deal_groups, fit_contigs, fit_proteins, group_weights

FALSE_CALLS = 0.017  # of the cellular contigs in cross-validation: so many may be called viral
DOUBTFUL = 0.02  # of all contigs in cross-validation: so many are left unresolved


class Labelled(NamedTuple):
    """Labelled fragments and their proteins.

    Attributes:
        fragments: by name; columns `label`, `group`, `kind`, `split`, `length`, `viral` (0 or 1) and `fold` (-1 in
            groups for testing).
        proteins: of `describe_groups`; `contig` names the fragment.
        inputs: float32 [proteins, inputs], of `protein_inputs`.
    """

    fragments: pd.DataFrame
    proteins: pd.DataFrame
    inputs: Rows

    @property
    def trained(self) -> Mask:
        """Which fragments are for training, bool [fragments]."""
        return (self.fragments["fold"] >= 0).to_numpy()

    def evidence(self, log_odds: Floats) -> Floats:
        """Return the evidence of all fragments, float64 [fragments, 2], from the log-odds of all proteins."""
        found = evidence_of_contigs(self.proteins, log_odds)[EVIDENCE]
        return np.asarray(found.reindex(self.fragments.index).fillna(0), np.float64)


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
    return Labelled(fragments, proteins, protein_inputs(embedding, proteins))


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


def thresholds(log_odds: Floats, viral: Integers) -> tuple[float, float]:
    """Return the log-odds from which contigs are to be called viral, and up to which cellular.

    Viral calls begin at the quantile of the cellular contigs that 1.7 % of them exceed. Cellular calls end at a
    quantile of all contigs up to there, where both labels weigh the same, however many contigs each has: at most 2 % of
    the whole weight lies in between, and is left unresolved. The cellular contigs up to the first threshold have at
    least a quarter of the whole weight, so both thresholds are defined for any number of contigs of each label.

    The log-odds, float64 [contigs], are cross-fitted; the labels, int64 [contigs], are 0 or 1, each at least once.
    """
    viral_from = float(np.quantile(log_odds[viral == 0], 1 - FALSE_CALLS))
    weights = 0.5 / np.bincount(viral)[viral]
    below = log_odds <= viral_from
    rest = 1 - DOUBTFUL / weights[below].sum()
    cellular_to = np.quantile(log_odds[below], rest, weights=weights[below], method="inverted_cdf")
    return viral_from, float(cellular_to)


def score_fragments(labelled: Labelled, fitted: Fit, classifier: Classifier) -> pd.DataFrame:
    """Return the fragments with `log_odds`, `score` and `call`: of those for training the log-odds are cross-fitted."""
    log_odds = classifier.contig_log_odds(labelled.evidence(classifier.protein_log_odds(labelled.inputs)))
    log_odds[labelled.trained] = fitted.contigs.log_odds
    residues = labelled.proteins.groupby("contig")["residues"].sum()
    residues = residues.reindex(labelled.fragments.index, fill_value=0)
    rows = zip(log_odds, residues, labelled.fragments["length"], strict=True)
    calls = [classifier.requirements.decide(*row)[0] for row in rows]
    return labelled.fragments.assign(log_odds=log_odds, score=expit(log_odds), call=calls)
