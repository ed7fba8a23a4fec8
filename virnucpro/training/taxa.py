"""Fit the taxon head over embeddings, and regressions over shared k-mers by rank.

All evaluations leave out the next lower taxon: the own species for genus, the own genus for family, the own family for
realm to order. For tailed phages without a family, groups that share k-mers are left out.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from virnucpro.calling.calls import MOST_KNOWN
from virnucpro.data.arrays import Floats, Mask, Rows
from virnucpro.errors import UserError
from virnucpro.naming import CLASSES, RANKS, class_of
from virnucpro.naming.heads import Described
from virnucpro.naming.names import EMBEDDED_RANKS, combine, likeliest, state_by_embeddings, state_by_kmers
from virnucpro.naming.references import RankModel, References
from virnucpro.naming.taxonomy import FEATURES, genome_of_class, ranks_by_kmers, relation_features, taxa_at
from virnucpro.training import heads
from virnucpro.training.heads import FittedHead, Sets, fit_head, limit_for

FOLDS = 5
HIDDEN, EPOCHS = 128, 8
FEWEST = 5  # fragments of a class; rarer classes are not learned
PRECISION = 0.96  # precision of statements by embeddings; together with statements by k-mers it is 95 %
HELD_OUT = {"genus": "species", "family": "genus"}  # taxon that is left out; for other ranks the own family


class FittedTaxa(NamedTuple):
    """The taxon head, the lineage of each class, and the lowest probabilities at which taxa are stated, by rank."""

    head: FittedHead
    taxa: list[dict[str, str]]
    limits: dict[str, dict[str, list[float]]]


def fit_taxa(inputs: Rows, sizes: "pd.Series[int]", fragments: pd.DataFrame, seed: int) -> FittedTaxa:
    """Fit the taxon head to viral fragments with a known class of ICTV.

    Args:
        inputs: Result of `protein_inputs`, float32 [genes, inputs]; genes of one fragment are in neighboring rows.
        sizes: Number of genes of each fragment.
        fragments: Ranks, `unit` (family, or group of relatives) and `length`, in the same order.
    """
    counts = fragments["class"].map(fragments["class"].value_counts())
    learned = ((fragments["class"] != "") & (counts >= FEWEST)).to_numpy()
    classes = sorted(set(fragments.loc[learned, "class"]))
    taxa = [
        dict(fragments.loc[fragments["class"] == name, list(EMBEDDED_RANKS)].iloc[0].astype(str)) for name in classes
    ]
    allowed = fragments["class"].to_numpy()[:, None] == np.array(classes, object)
    _, unit, of_unit = np.unique(fragments["unit"], return_inverse=True, return_counts=True)
    folds = np.asarray(np.random.default_rng(seed).permutation(len(of_unit))[unit] % FOLDS, np.int64)
    weights = np.where(learned, 1 / np.sqrt(of_unit[unit]), 0)
    fitted = fit_head(Sets(inputs, np.asarray(sizes, np.int64), allowed, weights, folds), HIDDEN, EPOCHS, seed)
    judged = fragments[learned]
    limits: dict[str, dict[str, list[float]]] = {}
    for rank, values, truth in _statements(taxa, judged):
        stated = [likeliest(row, values) for row in fitted.probabilities[learned]]
        names, scores = np.array([name for name, _ in stated]), np.array([score for _, score in stated])
        right = names == truth.to_numpy()
        limits[rank] = {
            name: _limits(names == name, scores, right, judged, PRECISION) for name in sorted({*names} - {""})
        }
    return FittedTaxa(fitted, taxa, limits)


def _limits(
    of: Mask, probabilities: Floats, right: Mask, fragments: pd.DataFrame, precision: float = heads.PRECISION
) -> list[float]:
    """Return the lowest probability of the statements in a mask, for each class of lengths of fragments."""
    classes = fragments["length"].map(class_of).to_numpy()
    of_class = [of & (classes == one) for one in range(len(CLASSES))]
    return [limit_for(probabilities[rows], right[rows], precision) for rows in of_class]


def _statements(taxa: list[dict[str, str]], fragments: pd.DataFrame) -> list[tuple[str, list[str], "pd.Series[str]"]]:
    """Return each rank and `genome`, with its value for every class and for every fragment."""
    found = [(rank, [taxon[rank] for taxon in taxa], fragments[rank]) for rank in EMBEDDED_RANKS]
    genomes = [genome_of_class(taxon["class"]) for taxon in taxa]
    return [*found, ("genome", genomes, fragments["class"].map(genome_of_class))]


def held_out(hits: pd.DataFrame, references: References, fragments: pd.DataFrame, level: str) -> pd.DataFrame:
    """Remove hits to a fragment's own record and to its own species, genus or unit.

    All hits of a fragment are removed if its species, genus or unit is not known.

    Args:
        hits: Table of `shared_kmers`; owners are rows of the fragments.
        references: Table with a column `unit` beside the others.
        fragments: Columns `record`, `unit` and the ranks.
        level: `species`, `genus` or `unit`.
    """
    own = fragments[level].to_numpy()[hits["owner"]]
    other = references.table[level].to_numpy()[hits["reference"]]
    record = fragments["record"].to_numpy()[hits["owner"]] == references.table["record"].to_numpy()[hits["reference"]]
    kept: pd.DataFrame = hits[(own != "") & (own != other) & ~record]
    return kept


def fit_ranks(hits: pd.DataFrame, references: References, fragments: pd.DataFrame) -> RankModel:
    """Fit a logistic regression for each rank, of the probability that the taxon of the closest reference is right.

    Limits are computed from cross-fitted probabilities. The arguments are as for `held_out`.
    """
    weights, limits = [], []
    for rank in RANKS:
        others = held_out(hits, references, fragments, HELD_OUT.get(rank, "unit"))
        relation = relation_features(others, taxa_at(references.table, rank))
        truth = taxa_at(fragments, rank).iloc[relation.index]
        relation, of_owner = relation[truth.notna().to_numpy()], fragments.loc[truth.dropna().index]
        right = (relation["taxon"].to_numpy() == truth.dropna().to_numpy()).astype(np.int64)
        if of_owner["unit"].nunique() < FOLDS or len(set(right)) < 2:
            raise UserError(
                f"train-names: too few viruses to learn the rank {rank}; add viral families to the training"
            )
        features = relation[FEATURES].to_numpy(np.float64)
        model = LogisticRegression(C=1.0, max_iter=1000)
        probability = cross_val_predict(
            model, features, right, groups=of_owner["unit"], cv=GroupKFold(FOLDS), method="predict_proba"
        )[:, 1]
        limits.append(_limits(np.ones(len(right), np.bool_), probability, right == 1, of_owner))
        model.fit(features, right)
        weights.append([*model.coef_[0], model.intercept_[0]])
    return RankModel(np.array(weights), np.array(limits))


def units_of(table: pd.DataFrame, groups: "pd.Series[str]") -> Floats:
    """Return the family of each row; for tailed phages and unknown families, the group in the training table."""
    is_tailed = table["class"] == "Caudoviricetes"
    return np.asarray(table["family"].where((table["family"] != "") & ~is_tailed, groups))


def measure_statements(
    hits: pd.DataFrame, references: References, fragments: pd.DataFrame, probabilities: Rows, described: Described
) -> pd.DataFrame:
    """Return how often taxa are stated and right, one row per level left out, class of lengths and rank.

    Columns: `held_out` (`species`, `genus` or `unit`); `length`; `rank`, from realm to genus; `fragments`, the number
    with a taxon at the rank; `stated`, their proportion with a statement; `right`, the proportion of right statements.

    Args:
        hits, references, fragments: As for `held_out`; references have a model of ranks.
        probabilities: Cross-fitted probabilities of the taxon head, float32 [fragments, classes].
    """
    lengths = fragments["length"].tolist()
    by_embeddings = [
        state_by_embeddings(row, described, length) for row, length in zip(probabilities, lengths, strict=True)
    ]
    rows = []
    for level in ("species", "genus", "unit"):
        by_kmers = ranks_by_kmers(held_out(hits, references, fragments, level), references).to_dict("index")
        lineages = []
        for owner, by_embedding in enumerate(by_embeddings):
            proven = state_by_kmers(by_kmers[owner], references, lengths[owner]) if owner in by_kmers else (None, "")
            statement, _ = combine(*proven, by_embedding)
            lineages.append(statement.lineage if statement else {})
        stated = pd.DataFrame(lineages, fragments.index, list(RANKS), object).fillna("")
        for number, name in enumerate(CLASSES):
            of_length = (fragments["length"].map(class_of) == number) & (fragments[level] != "")
            for rank in RANKS:
                judged = of_length & (fragments[rank] != "")
                is_stated = stated.loc[judged, rank] != ""
                right = (stated.loc[judged, rank] == fragments.loc[judged, rank])[is_stated]
                rows.append((level, name, rank, judged.sum(), round(is_stated.mean(), 4), round(right.mean(), 4)))
    return pd.DataFrame(rows, columns=["held_out", "length", "rank", "fragments", "stated", "right"])


def weight_of_known(log_odds: Floats, share: Floats, viral: Mask, weights: Floats) -> float:
    """Return the maximum likelihood weight, in a fragment's log-odds, of its share of k-mers with a known virus.

    Args:
        log_odds: Cross-fitted log-odds of fragments, float64 [fragments].
        share: Share in `virnucpro.naming.taxonomy.closest_references`, 0 without a reference, float64 [fragments].
        viral: Mask of viral fragments, bool [fragments].
        weights: Weights of fragments, float64 [fragments].
    """
    capped, sense = np.minimum(share, MOST_KNOWN), np.where(viral, 1, -1)
    found = minimize_scalar(
        lambda weight: weights @ np.logaddexp(0, -sense * (log_odds + weight * capped)),
        bounds=(0, 100),
        method="bounded",
    )
    return float(found.x)
