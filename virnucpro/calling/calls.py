"""From the proteins of a sample and their embeddings to a table of calls."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit

from virnucpro.calling.classifier import Classifier, Floats, Rows, false_shares, protein_inputs
from virnucpro.calling.evidence import EVIDENCE, evidence_of_contigs
from virnucpro.calling.features import Features
from virnucpro.calling.published import CHUNK_COLUMNS, VirNucPro, chunk_scores, judge_contigs, log_odds_of
from virnucpro.calling.requirements import NOT_CLEAR, Requirements
from virnucpro.proteins.table import first_rows

BLOCK = 10_000  # proteins scored at once

CONTIG_COLUMNS = ["contig", "length", "call", "score", "log_odds", "posterior", "false_share", "genes", "genetic_code"]

_FORMS = {"score": "{:.4f}", "log_odds": "{:.3f}", "posterior": "{:.4f}", "false_share": "{:.4f}"}
# Of a contig without proteins.
_NOTHING: dict[str, Any] = {"log_odds": 0.0, "genes": 0, "residues": 0, "genetic_code": 1}
_NO_CHUNKS: dict[str, Any] = {"tier": "", "chunks": 0, "viral_chunks": 0, "other_chunks": 0, "unclear_chunks": 0}


class Judged(NamedTuple):
    """What a classifier says of a sample.

    Attributes:
        log_odds: of proteins, float64 [proteins].
        contigs: of contigs with proteins, by their names: columns `log_odds`, `genes`, `residues` and `genetic_code`,
            and those of `CHUNK_COLUMNS` by a classifier of the original VirNucPro.
        scores: by such a classifier, of frames for others and for virus, float32 [frames, 2]; else None.
        chunks: by such a classifier, the table of `chunk_scores`; else None.
    """

    log_odds: Floats
    contigs: pd.DataFrame
    scores: Rows | None = None
    chunks: pd.DataFrame | None = None


def judge_sample(judge: Classifier | VirNucPro, proteins: pd.DataFrame, features: Features) -> Judged:
    """Return what a classifier says of the proteins and the contigs of a sample.

    Args:
        judge: the classifier.
        proteins: of `describe_groups`, those of a contig in neighboring rows.
        features: of these proteins.
    """
    blocks = _blocks(proteins)
    if isinstance(judge, VirNucPro):
        scores = np.concatenate([judge.scores(features.rows(rows)) for rows in blocks])
        log_odds = log_odds_of(scores)
        chunks = chunk_scores(proteins, scores)
        counted = evidence_of_contigs(proteins, log_odds)[["genes", "residues", "genetic_code"]]
        return Judged(log_odds, counted.join(judge_contigs(chunks)), scores, chunks)
    inputs = (protein_inputs(features.rows(rows), proteins.iloc[rows]) for rows in blocks)
    log_odds = np.concatenate([judge.protein_log_odds(block) for block in inputs])
    evidence = evidence_of_contigs(proteins, log_odds)
    return Judged(log_odds, evidence.assign(log_odds=judge.contig_log_odds(evidence[EVIDENCE].to_numpy(np.float64))))


def decide_contigs(
    requirements: Requirements, lengths: "pd.Series[int]", found: pd.DataFrame, prior: float, min_length: int
) -> pd.DataFrame:
    """Return the table of calls, as text where it is written with fixed digits, a row a contig.

    Args:
        requirements: of the classifier.
        lengths: of all contigs, by their names, in the order of the rows.
        found: `Judged.contigs`.
        prior: share of contigs that is expected to be viral.
        min_length: bases of the shortest contig that is called.
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
    posterior = expit(shifted)
    judged = contigs["reason"].isin(["", NOT_CLEAR])
    contigs.loc[judged, "false_share"] = false_shares(posterior[judged].to_numpy())
    contigs = contigs.assign(score=expit(contigs["log_odds"]), posterior=posterior)
    for column, form in _FORMS.items():
        there = judged if column == "false_share" else contigs["length"] > 0
        contigs[column] = contigs[column].map(form.format).where(there, "")
    return contigs[[*CONTIG_COLUMNS, *(CHUNK_COLUMNS if "tier" in contigs else []), "reason"]]


def _blocks(proteins: pd.DataFrame) -> list[npt.NDArray[np.int64]]:
    """Return the rows of whole contigs, some 10,000 at a time."""
    starts = first_rows(proteins["contig"])
    cuts = starts[1:][np.diff(starts // BLOCK) > 0]
    return np.split(np.arange(len(proteins)), cuts)
