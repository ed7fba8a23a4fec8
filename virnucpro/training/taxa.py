"""Fit what states taxa: the taxon head over embeddings, and regressions over shared k-mers by rank.

Every figure is of taxa held out one rank below: genus with the own species left out, family with the own genus, realm
to order with the own family. Tailed phages without a family are held out by groups that share k-mers.
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
FEWEST = 5  # fragments of a class; rarer ones are not learned
PRECISION = 0.96  # of statements by embeddings, so that 95 % of these and those by k-mers together are right
HELD_OUT = {"genus": "species", "family": "genus"}  # for all other ranks the own family


class FittedTaxa(NamedTuple):
    """The taxon head, the lineage of each of its classes, and the limits from which taxa are stated by rank."""

    head: FittedHead
    taxa: list[dict[str, str]]
    limits: dict[str, dict[str, list[float]]]


def fit_taxa(inputs: Rows, sizes: "pd.Series[int]", fragments: pd.DataFrame, seed: int) -> FittedTaxa:
    """Fit the taxon head to viral fragments with a class.

    Args:
        inputs: of `protein_inputs`, float32 [genes, inputs], those of a fragment in neighboring rows.
        sizes: genes of each fragment.
        fragments: ranks, `unit` (family, or group of relatives) and `length`, in the same order.
        seed: of the folds and networks.
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
    """Return the limit of statements, those of a mask, for each class of lengths of fragments."""
    classes = fragments["length"].map(class_of).to_numpy()
    of_class = [of & (classes == one) for one in range(len(CLASSES))]
    return [limit_for(probabilities[rows], right[rows], precision) for rows in of_class]


def _statements(taxa: list[dict[str, str]], fragments: pd.DataFrame) -> list[tuple[str, list[str], "pd.Series[str]"]]:
    """Return ranks and `genome`, with the value of each class and of each fragment."""
    found = [(rank, [taxon[rank] for taxon in taxa], fragments[rank]) for rank in EMBEDDED_RANKS]
    genomes = [genome_of_class(taxon["class"]) for taxon in taxa]
    return [*found, ("genome", genomes, fragments["class"].map(genome_of_class))]


def held_out(hits: pd.DataFrame, references: References, fragments: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return the hits without those of a fragment's own species, genus or unit, as `level` says, and of its record.

    Fragments whose own one is not known have no hits left.

    Args:
        hits: of `shared_kmers`; owners are rows of the fragments.
        references: table with a column `unit` beside the others.
        fragments: columns `record`, `unit` and the ranks.
        level: `species`, `genus` or `unit`.
    """
    own = fragments[level].to_numpy()[hits["owner"]]
    other = references.table[level].to_numpy()[hits["reference"]]
    record = fragments["record"].to_numpy()[hits["owner"]] == references.table["record"].to_numpy()[hits["reference"]]
    kept: pd.DataFrame = hits[(own != "") & (own != other) & ~record]
    return kept


def fit_ranks(hits: pd.DataFrame, references: References, fragments: pd.DataFrame) -> RankModel:
    """Fit a logistic regression for each rank: is the taxon of the closest reference right?

    Limits are taken from cross-fitted probabilities. Arguments are those of `held_out`.
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
                f"train-names: too few viruses to learn the rank {rank} from; add viral families to the training"
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
    """Return the family of each row; of tailed phages, and where it is not known, the group of the training's table."""
    is_tailed = table["class"] == "Caudoviricetes"
    return np.asarray(table["family"].where((table["family"] != "") & ~is_tailed, groups))


def measure_statements(
    hits: pd.DataFrame, references: References, fragments: pd.DataFrame, probabilities: Rows, described: Described
) -> pd.DataFrame:
    """Return how often taxa are stated and right, a row for each level held out, class of lengths and rank.

    Columns: `held_out`, `species`, `genus` or `unit`; `length`; `rank`, from realm to genus; `fragments`, those with a
    taxon at the rank; `stated` and `right`, proportions of them and of those that are stated.

    Args:
        hits, references, fragments: as for `held_out`; references have a model of ranks.
        probabilities: cross-fitted ones of the taxon head, float32 [fragments, classes].
        described: of the heads.
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
    """Return the likeliest weight of the share of k-mers with a known virus in a fragment's log-odds.

    Args:
        log_odds: cross-fitted, of fragments, float64 [fragments].
        share: of `virnucpro.naming.taxonomy.closest_references`, 0 without one, float64 [fragments].
        viral: which fragments are, bool [fragments].
        weights: of fragments, float64 [fragments].
    """
    capped, sense = np.minimum(share, MOST_KNOWN), np.where(viral, 1, -1)
    found = minimize_scalar(
        lambda weight: weights @ np.logaddexp(0, -sense * (log_odds + weight * capped)),
        bounds=(0, 100),
        method="bounded",
    )
    return float(found.x)
