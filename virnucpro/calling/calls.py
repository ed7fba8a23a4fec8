"""Score the proteins of a sample from their embeddings, and call its contigs."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from virnucpro.calling.classifier import Classifier, false_shares, protein_inputs
from virnucpro.calling.evidence import EVIDENCE, evidence_of_contigs
from virnucpro.calling.features import Features
from virnucpro.calling.published import CHUNK_COLUMNS, VirNucPro, chunk_scores, log_odds_of, score_contigs
from virnucpro.calling.requirements import NOT_CLEAR, Requirements
from virnucpro.data.arrays import Floats, Rows
from virnucpro.proteins.table import first_rows

BLOCK = 10_000  # proteins scored at once, about

CONTIG_COLUMNS = ["contig", "length", "call", "score", "log_odds", "posterior", "false_share", "genes", "genetic_code"]

_FORMS = {"score": "{:.4f}", "log_odds": "{:.3f}", "posterior": "{:.4f}", "false_share": "{:.4f}"}
# Of a contig without proteins.
_NOTHING: dict[str, Any] = {"log_odds": 0.0, "genes": 0, "residues": 0, "genetic_code": 1}
_NO_CHUNKS: dict[str, Any] = {"tier": "", "chunks": 0, "viral_chunks": 0, "other_chunks": 0, "unclear_chunks": 0}


class SampleScores(NamedTuple):
    """Scores of a sample's proteins and contigs by a classifier.

    Attributes:
        log_odds: of proteins, float64 [proteins].
        contigs: contigs with proteins, by their names: columns `log_odds`, `genes`, `residues` and `genetic_code`. A
            classifier of the original VirNucPro adds `CHUNK_COLUMNS`.
        frames: scores of frames for others and for virus, float32 [frames, 2]; the original's classifiers only.
        chunks: the table of `chunk_scores`; the original's classifiers only.
    """

    log_odds: Floats
    contigs: pd.DataFrame
    frames: Rows | None = None
    chunks: pd.DataFrame | None = None


def score_sample(model: Classifier | VirNucPro, proteins: pd.DataFrame, features: Features) -> SampleScores:
    """Score the proteins of a sample, a table of `describe_groups` with those of a contig in neighboring rows."""
    starts = first_rows(proteins["contig"])
    cuts = starts[1:][np.diff(starts // BLOCK) > 0]
    blocks = np.split(np.arange(len(proteins)), cuts)  # of whole contigs
    if isinstance(model, VirNucPro):
        scores = np.concatenate([model.scores(features.rows(rows)) for rows in blocks])
        log_odds = log_odds_of(scores)
        chunks = chunk_scores(proteins, scores)
        counted = evidence_of_contigs(proteins, log_odds)[["genes", "residues", "genetic_code"]]
        return SampleScores(log_odds, counted.join(score_contigs(chunks)), scores, chunks)
    inputs = (protein_inputs(features.rows(rows), proteins.iloc[rows]) for rows in blocks)
    log_odds = np.concatenate([model.protein_log_odds(block) for block in inputs])
    evidence = evidence_of_contigs(proteins, log_odds)
    of_contigs = model.contig_log_odds(evidence[EVIDENCE].to_numpy(np.float64))
    return SampleScores(log_odds, evidence.assign(log_odds=of_contigs))


def decide_contigs(
    requirements: Requirements, lengths: "pd.Series[int]", found: pd.DataFrame, prior: float, min_length: int
) -> pd.DataFrame:
    """Return the table of calls, as text where it is written with fixed digits, a row a contig.

    The lengths in bases are those of all contigs, by their names, in the order of the rows; `found` is
    `SampleScores.contigs`. The prior is the share of contigs that is expected to be viral.
    """
    nothing = _NOTHING | (_NO_CHUNKS if "tier" in found else {})
    # Log-odds as they are written: calls follow from the table.
    contigs = found.assign(log_odds=found["log_odds"].round(3)).reindex(lengths.index)[list(nothing)]
    whole = {name: int for name, value in nothing.items() if isinstance(value, int)}
    contigs = contigs.fillna(nothing).astype(whole).assign(contig=lengths.index, length=lengths)
    shifted = contigs["log_odds"] + logit(prior)  # by Bayes' theorem
    rows = zip(shifted, contigs["residues"], contigs["length"], strict=True)
    decided = [requirements.decide(*row, min_length) for row in rows]
    contigs["call"], contigs["reason"] = zip(*decided, strict=True) if decided else ((), ())
    contigs = contigs.assign(score=expit(contigs["log_odds"]), posterior=expit(shifted))
    by_log_odds = contigs["reason"].isin(["", NOT_CLEAR])
    contigs.loc[by_log_odds, "false_share"] = false_shares(contigs.loc[by_log_odds, "posterior"].to_numpy())
    for column, form in _FORMS.items():
        there = by_log_odds if column == "false_share" else contigs["length"] > 0
        contigs[column] = contigs[column].map(form.format).where(there, "")
    return contigs[[*CONTIG_COLUMNS, *(CHUNK_COLUMNS if "tier" in contigs else []), "reason"]]
