"""Score the proteins of a sample from their embeddings, and call its contigs."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit

from virnucpro.calling import SENSITIVITIES
from virnucpro.calling.classifier import Classifier, protein_inputs
from virnucpro.calling.evidence import EVIDENCE, evidence_of_contigs
from virnucpro.calling.features import Features
from virnucpro.calling.published import CHUNK_COLUMNS, TIERS, VirNucPro, chunk_scores, log_odds_of, score_contigs
from virnucpro.calling.requirements import VIRAL_FROM, Requirements
from virnucpro.calling.share import Share, false_discovery_rates, share_of_viruses
from virnucpro.data.arrays import Floats, Rows
from virnucpro.proteins.table import blocks_of_contigs

BLOCK = 10_000  # approximate number of proteins that are scored at once

CONTIG_COLUMNS = ["contig", "length", "call", "score", "log_odds", "posterior", "fdr", "genes", "genetic_code"]

# A contig that shares protein k-mers with a known virus is likelier viral. Its log-odds increase by KNOWN_WEIGHT x
# share of k-mers, up to the share MOST_KNOWN. The weight was fitted to the fragments of the training, without viruses
# of their own family (docs/names/README.md).
KNOWN_WEIGHT = 9.18
MOST_KNOWN = 0.3

DEFAULT_FDR = SENSITIVITIES["default"]
NOT_CLEAR = "between viral and cellular"

_FORMS = {"score": "{:.4f}", "log_odds": "{:.3f}", "posterior": "{:.4f}", "fdr": "{:.4f}"}
# Values of a contig without proteins.
_NOTHING: dict[str, Any] = {"genes": 0, "residues": 0}
_NO_CHUNKS: dict[str, Any] = {"tier": "", "chunks": 0, "viral_chunks": 0, "other_chunks": 0, "unclear_chunks": 0}


class SampleScores(NamedTuple):
    """Scores of a sample's proteins and contigs by a classifier.

    Attributes:
        log_odds: Log-odds of proteins, float64 [proteins].
        contigs: Contigs with proteins, by their names: columns `log_odds`, `genes`, `residues` and `genetic_code`. A
            classifier of the original VirNucPro adds `CHUNK_COLUMNS`.
        frames: Scores of frames for others and for virus, float32 [frames, 2]; only for the original's classifiers.
        chunks: Table of `chunk_scores`; only for the original's classifiers.
    """

    log_odds: Floats
    contigs: pd.DataFrame
    frames: Rows | None = None
    chunks: pd.DataFrame | None = None


def score_sample(
    model: Classifier | VirNucPro,
    proteins: pd.DataFrame,
    features: Features,
    lengths: "pd.Series[int]",
    known: "pd.Series[float] | None" = None,
) -> SampleScores:
    """Score the proteins and the contigs of a sample.

    Args:
        proteins: Table of `describe_groups`; proteins of one contig are in neighboring rows.
        lengths: Lengths of contigs in bases, by their names.
        known: Proportion of a contig's k-mers that a known virus shares, by contig; contigs without one may be missing.
            The original's classifiers ignore it.
    """
    blocks = blocks_of_contigs(proteins["contig"], BLOCK)
    if isinstance(model, VirNucPro):
        scores = np.concatenate([model.scores(features.rows(rows)) for rows in blocks])
        log_odds = log_odds_of(scores)
        chunks = chunk_scores(proteins, scores)
        counted = evidence_of_contigs(proteins, log_odds, lengths, 1)[["genes", "residues", "genetic_code"]]
        return SampleScores(log_odds, counted.join(score_contigs(chunks)), scores, chunks)
    log_odds = features.by_screen.copy()
    for rows in (rows[features.embedded[rows]] for rows in blocks):
        log_odds[rows] = model.protein_log_odds(protein_inputs(features.rows(rows), proteins.iloc[rows]))
    return SampleScores(log_odds, score_by_proteins(model, proteins, log_odds, lengths, known))


def score_by_proteins(
    model: Classifier,
    proteins: pd.DataFrame,
    log_odds: Floats,
    lengths: "pd.Series[int]",
    known: "pd.Series[float] | None" = None,
) -> pd.DataFrame:
    """Return `SampleScores.contigs` from the log-odds of proteins; the other arguments are those of `score_sample`."""
    evidence = evidence_of_contigs(proteins, log_odds, lengths, model.requirements.most_genes)
    of_contigs = model.contig_log_odds(evidence[EVIDENCE].to_numpy(np.float64))
    if known is not None:
        of_contigs += KNOWN_WEIGHT * known.clip(upper=MOST_KNOWN).reindex(evidence.index, fill_value=0).to_numpy()
    return evidence.assign(log_odds=of_contigs)


def decide_contigs(
    requirements: Requirements,
    lengths: "pd.Series[int]",
    scored: pd.DataFrame,
    prior: float | None = None,
    max_fdr: float = DEFAULT_FDR,
    min_length: int = 0,
) -> tuple[pd.DataFrame, Share]:
    """Return the table of calls, one row per contig, and the share of viral contigs that the calls use.

    Columns with a fixed number of digits are text, empty if the number is not known. The share of viral contigs is
    among the contigs that are long enough to be called.

    Args:
        lengths: Lengths of all contigs in bases, by their names, in the order of the rows.
        scored: `SampleScores.contigs`.
        prior: Expected share of viral contigs; None estimates it.
        max_fdr: Highest expected false discovery rate of the contigs called viral.
        min_length: Bases of the shortest contig that is called.
    """
    nothing = _NOTHING | (_NO_CHUNKS if "tier" in scored else {})
    # Rounded as written, so that the calls can be derived from the table.
    contigs = scored.assign(log_odds=scored["log_odds"].round(3)).reindex(lengths.index)
    whole = {name: int for name, value in nothing.items() if isinstance(value, int)}
    contigs = contigs.assign(contig=lengths.index, length=lengths).fillna(nothing).astype(whole)
    contigs["reason"] = reasons_against(requirements, contigs, min_length)
    called = contigs["reason"] == ""
    columns = ["log_odds", "length"]
    labels, share = label_contigs(requirements, contigs.loc[called, columns], prior, max_fdr)
    contigs = contigs.assign(score=expit(contigs["log_odds"]), call="unresolved", posterior=np.nan, fdr=np.nan)
    contigs.loc[called, labels.columns] = labels
    if "tier" in contigs:  # the tier of the final call
        contigs.loc[(contigs["call"] == "unresolved") & (contigs["tier"] != ""), "tier"] = TIERS[0]
    for column, form in _FORMS.items():
        contigs[column] = ["" if np.isnan(value) else form.format(value) for value in contigs[column]]
    contigs["genetic_code"] = contigs["genetic_code"].astype("Int64")
    return contigs[[*CONTIG_COLUMNS, *(CHUNK_COLUMNS if "tier" in contigs else []), "reason"]], share


def label_contigs(
    requirements: Requirements,
    contigs: pd.DataFrame,
    prior: float | None = None,
    max_fdr: float = DEFAULT_FDR,
    weights: Floats | None = None,
) -> tuple[pd.DataFrame, Share]:
    """Return `posterior`, `fdr`, `call` and `reason` of the contigs of one sample, and the share of viral contigs.

    A contig is viral if its fdr is at most `max_fdr` and its posterior over 0.5. It is cellular if its log-odds are
    at most the threshold for its length. Other contigs are unresolved. The original VirNucPro's scores are not
    probabilities: its classifiers have a fixed threshold for viral contigs, and posterior and fdr are empty.

    Args:
        contigs: Columns `log_odds` and `length`.
        prior, max_fdr: As for `decide_contigs`.
        weights: Weights of contigs in the fdr, float64 [contigs]; 1 by default.

    Examples:
        The fdr of `b` is the mean of 1 - posterior over `a` and `b`.

        >>> from virnucpro.calling.requirements import DEFAULT, read_requirements
        >>> contigs = pd.DataFrame({"log_odds": [6.0, 0.3, -9.0], "length": 5_000}, index=["a", "b", "c"])
        >>> labels, share = label_contigs(read_requirements(DEFAULT), contigs, prior=0.5)
        >>> labels[["posterior", "fdr", "call"]].round(3)
           posterior    fdr        call
        a      0.998  0.002       viral
        b      0.574  0.214  unresolved
        c      0.000  0.476    cellular
    """
    log_odds = contigs["log_odds"].to_numpy(np.float64)
    share = share_of_viruses(log_odds, 0.5 if requirements.is_published else prior)
    posterior = expit(log_odds + logit(share.value))  # Bayes' theorem
    rates = false_discovery_rates(posterior, weights)
    viral = (rates <= max_fdr) & (posterior > 0.5)
    doubt = np.select([log_odds <= 0, rates > max_fdr], [NOT_CLEAR, f"fdr over {max_fdr:g}"], "posterior not over 0.5")
    if requirements.is_published:
        viral, doubt = log_odds >= VIRAL_FROM, np.full(len(contigs), NOT_CLEAR)
        posterior = rates = np.full(len(contigs), np.nan)
    starts, limits = map(np.array, zip(*requirements.cellular_to, strict=True))
    limit = limits[np.searchsorted(starts[1:], contigs["length"], side="right")]
    call = np.select([viral, log_odds <= limit], ["viral", "cellular"], "unresolved")
    reason = np.where(call == "unresolved", doubt, "")
    columns = {"posterior": posterior, "fdr": rates, "call": call, "reason": reason}
    return pd.DataFrame(columns, index=contigs.index), share


def reasons_against(requirements: Requirements, contigs: pd.DataFrame, min_length: int = 0) -> npt.NDArray[np.str_]:
    """Return the reason why a contig is not called, or empty text, for each contig.

    Columns of the contigs: `length` in bases and `residues`, the residues of all its proteins.
    """
    length, residues = contigs["length"], contigs["residues"]
    reasons = {
        "nothing in the record": length == 0,
        "no open reading frame": residues == 0,
        f"fewer than {requirements.fewest_residues} residues": residues < requirements.fewest_residues,
        f"shorter than tested: {requirements.tested_from} bases": length < requirements.tested_from,
        f"shorter than {min_length} bases": length < min_length,
    }
    return np.select(list(reasons.values()), list(reasons), "")
