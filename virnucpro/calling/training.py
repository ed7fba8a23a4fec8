"""Training a classifier: from labelled fragments, their frames and embeddings to networks, a regression and thresholds.

Fragments of groups for training are only ever scored by what has not seen their group; the thresholds are taken from
these scores. Groups for testing are scored by the finished classifier.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from virnucpro.calling.classifier import Classifier, Floats, contig_inputs, frame_inputs, probability
from virnucpro.calling.fitting import (
    ContigFit,
    FrameFit,
    Integers,
    Mask,
    Rows,
    deal_groups,
    fit_contigs,
    fit_frames,
    fit_frames_linear,
    group_weights,
)
from virnucpro.calling.requirements import Requirements
from virnucpro.proteins.table import evidence_of_contigs

FALSE_CALLS = 0.017  # of the cellular contigs in cross-validation: so many may be called viral
DOUBTFUL = 0.02  # of all contigs in cross-validation: so many are left unresolved


class Labelled(NamedTuple):
    """Labelled fragments and their frames.

    Attributes:
        fragments: by name; columns `label`, `group`, `host`, `split`, `length`, `viral` (0 or 1) and `fold` (-1 in
            groups for testing).
        features: float64 [fragments, features], of `contig_features`.
        frames: of `read_frames`; `contig` names the fragment.
        inputs: float32 [frames, inputs], of `frame_inputs`.
    """

    fragments: pd.DataFrame
    features: Floats
    frames: pd.DataFrame
    inputs: Rows

    @property
    def trained(self) -> Mask:
        """Which fragments are for training, bool [fragments]."""
        return (self.fragments["fold"] >= 0).to_numpy()

    def contig_inputs(self, log_odds: Floats) -> Floats:
        """Return what the regression sees of all fragments, from log-odds of all frames, float64 [frames, experts]."""
        evidence = evidence_of_contigs(self.frames, log_odds)
        total = pd.DataFrame(evidence["total"].tolist(), index=evidence.index).reindex(self.fragments.index)
        counted = evidence["counted"].reindex(self.fragments.index)
        return contig_inputs(total.fillna(0).to_numpy(), counted.fillna(0), self.features)


def label_fragments(
    fragments: pd.DataFrame, features: Floats, frames: pd.DataFrame, embedding: Rows, seed: int
) -> Labelled:
    """Return labelled fragments, those for training dealt to folds by their groups.

    Args:
        fragments: by name; columns `label`, `group`, `host`, `split` and `length`.
        features: float64 [fragments, features], of `contig_features`.
        frames: of `read_frames`; `contig` names the fragment.
        embedding: float32 [frames, embed_dim].
        seed: of the folds.

    Raises:
        UserError: a label has fewer than two groups for training.
    """
    fragments = fragments.assign(viral=(fragments["label"] == "viral").astype(np.int64), fold=-1)
    trained = fragments["split"] == "train"
    groups, viral = fragments.loc[trained, "group"].to_numpy(str), fragments.loc[trained, "viral"].to_numpy()
    fragments.loc[trained, "fold"] = deal_groups(groups, viral, seed)
    return Labelled(fragments, features, frames, frame_inputs(embedding, frames))


@dataclass(frozen=True)
class Fit:
    """What was fitted: to frames, to contigs, and to contigs whose frames were scored by a linear model instead."""

    frames: FrameFit
    contigs: ContigFit
    contigs_by_linear: ContigFit

    def classifier(self, requirements: Requirements) -> Classifier:
        """Return the classifier that the networks and the regression make."""

        def stack(name: str) -> Rows:
            return np.array([[n.state_dict()[name].numpy() for n in networks] for networks in self.frames.networks])

        return Classifier(
            mean=self.frames.mean,
            scale=self.frames.scale,
            hidden_weight=stack("0.weight").astype(np.float16),
            hidden_bias=stack("0.bias"),
            output_weight=stack("3.weight")[:, :, 0],
            output_bias=stack("3.bias")[:, :, 0],
            contig_mean=self.contigs.mean,
            contig_scale=self.contigs.scale,
            contig_weight=self.contigs.weight,
            contig_bias=self.contigs.bias,
            requirements=requirements,
        )


def fit(labelled: Labelled, seed: int) -> Fit:
    """Fit networks to the frames for training, and regressions to their fragments."""
    of_frames = labelled.fragments.loc[labelled.frames["contig"]]
    known = (of_frames["fold"] >= 0).to_numpy()
    inputs, of_frames = labelled.inputs[known], of_frames[known]
    viral, folds = of_frames["viral"].to_numpy(np.int64), of_frames["fold"].to_numpy(np.int64)
    weights = group_weights(of_frames["group"].to_numpy(str), viral)
    by_networks = fit_frames(inputs, viral, weights, folds, choose_experts(of_frames), seed)
    by_linear = fit_frames_linear(inputs, viral, weights, folds)
    return Fit(by_networks, *(_fit_contigs(labelled, known, scores) for scores in (by_networks.log_odds, by_linear)))


def _fit_contigs(labelled: Labelled, known: Mask, log_odds: Floats) -> ContigFit:
    """Fit a regression to the fragments for training, from the log-odds of their frames, [known frames, experts]."""
    of_all = np.zeros((len(known), log_odds.shape[1]))
    of_all[known] = log_odds
    trained = labelled.fragments[labelled.trained]
    viral, folds = trained["viral"].to_numpy(np.int64), trained["fold"].to_numpy(np.int64)
    weights = group_weights(trained["group"].to_numpy(str), viral)
    return fit_contigs(labelled.contig_inputs(of_all)[labelled.trained], viral, weights, folds)


def choose_experts(frames: pd.DataFrame) -> Mask:
    """Return which frames each expert learns from, bool [frames, experts]: the first from all, others from one host's.

    A host has an expert if its frames of either label lie in two folds or more: whichever is held out, both are left.

    Args:
        frames: columns `viral`, `host` (may be empty) and `fold`.
    """
    experts = [np.ones(len(frames), bool)]
    for host, of_host in frames[frames["host"] != ""].groupby("host"):
        folds = of_host.groupby("viral")["fold"].nunique()
        if len(folds) == 2 and folds.min() >= 2:
            experts.append((frames["host"] == host).to_numpy())
    return np.column_stack(experts)


def thresholds(log_odds: Floats, viral: Integers) -> tuple[float, float]:
    """Return the log-odds from which contigs are to be called viral, and up to which cellular.

    Viral calls begin at the quantile of the cellular contigs that 1.7 % of them exceed. Cellular calls end at a
    quantile of all contigs up to there, where both labels weigh the same, however many contigs each has: at most 2 % of
    the whole weight lies in between, and is left unresolved. The cellular contigs up to the first threshold have at
    least a quarter of the whole weight, so both thresholds are defined for any number of contigs of each label.

    Args:
        log_odds: float64 [contigs], cross-fitted.
        viral: int64 [contigs], 0 or 1, each at least once.
    """
    viral_from = float(np.quantile(log_odds[viral == 0], 1 - FALSE_CALLS))
    weights = 0.5 / np.bincount(viral)[viral]
    below = log_odds <= viral_from
    rest = 1 - DOUBTFUL / weights[below].sum()
    cellular_to = np.quantile(log_odds[below], rest, weights=weights[below], method="inverted_cdf")
    return viral_from, float(cellular_to)


def score_fragments(labelled: Labelled, fitted: Fit, classifier: Classifier) -> pd.DataFrame:
    """Return the fragments with `log_odds`, `score` and `call`: of those for training the log-odds are cross-fitted."""
    log_odds = classifier.contig_log_odds(labelled.contig_inputs(classifier.frame_log_odds(labelled.inputs)))
    log_odds[labelled.trained] = fitted.contigs.log_odds
    residues = labelled.frames.groupby("contig")["residues"].sum()
    residues = residues.reindex(labelled.fragments.index, fill_value=0)
    rows = zip(log_odds, residues, labelled.fragments["length"], strict=True)
    calls = [classifier.decide(*row)[0] for row in rows]
    return labelled.fragments.assign(log_odds=log_odds, score=probability(log_odds), call=calls)


def score_by_linear(labelled: Labelled, fitted: Fit) -> pd.DataFrame:
    """Return the fragments for training with `log_odds` and `call` from frames scored by the linear model."""
    trained = labelled.fragments[labelled.trained]
    log_odds = fitted.contigs_by_linear.log_odds
    viral_from, _ = thresholds(log_odds, trained["viral"].to_numpy(np.int64))
    return trained.assign(log_odds=log_odds, call=np.where(log_odds >= viral_from, "viral", "cellular"))
