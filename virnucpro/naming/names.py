"""Name the viral contigs and proviruses of a sample, and the genes in them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from virnucpro.calling.result_files import NAME_COLUMNS
from virnucpro.data.arrays import Integers, Mask, Rows
from virnucpro.naming import RANKS, class_of
from virnucpro.naming.heads import Described, Heads
from virnucpro.naming.kmers import Sketches, shared_kmers, sketch
from virnucpro.naming.references import References
from virnucpro.naming.taxonomy import closest_references, genome_of_class, kind_of, ranks_by_kmers, taxa_of_ictv
from virnucpro.proteins.table import read_residues

HALLMARKS = (
    "terminase large subunit",
    "portal protein",
    "major capsid protein",
    "tape measure protein",
    "tail sheath protein",
    "baseplate protein",
    "RNA-dependent RNA polymerase",
    "nucleoprotein",
    "Rep protein",
)
EMBEDDED_RANKS = RANKS[:4]  # realm to class: embeddings do not decide lower ranks
BLOCK = 100  # contigs and regions named at once; limits memory, as many references may share a k-mer
NO_FAMILY = "ICTV has no family there"
NOT_CLOSE = "no known family is close enough"


class Statement(NamedTuple):
    """Lowest taxon with enough evidence: lineage from realm down, rank, and probability that it is right."""

    lineage: dict[str, str]
    rank: str
    score: float


def functions_of(probabilities: Rows, described: Described) -> pd.DataFrame:
    """Return `function` and `function_score` of genes, empty if no category reaches its limit.

    The probabilities are from the function head, float32 [genes, categories].
    """
    best = probabilities.argmax(axis=1) if len(probabilities) else np.empty(0, np.int64)
    score = probabilities[np.arange(len(best)), best]
    named = score >= np.array(described.function_limits)[best]
    names = np.where(named, np.array(described.functions)[best], "")
    return pd.DataFrame({"function": names, "function_score": np.where(named, score, np.nan)})


def state_by_kmers(row: Mapping[Any, Any], references: References, length: int) -> tuple[Statement | None, str]:
    """Return the lowest taxon by shared k-mers, if any, and a note on the family.

    Args:
        row: Row of `ranks_by_kmers`.
        references: References of that table, with a model of ranks.
    """
    limits = references.ranks.limits[:, class_of(length)].tolist() if references.ranks else []
    stated = [rank for rank, limit in zip(RANKS, limits, strict=True) if row[f"p_{rank}"] >= limit]
    if not stated:
        return None, ""
    reference = references.table.loc[row[stated[-1]]]
    lineage = {rank: str(reference[rank]) for rank in RANKS[: RANKS.index(stated[-1]) + 1]}
    note = NO_FAMILY if "family" in lineage and not lineage["family"] else ""
    named = [rank for rank in lineage if lineage[rank]]
    return (Statement(lineage, named[-1], float(row[f"p_{stated[-1]}"])) if named else None), note


def state_by_embeddings(probabilities: Rows, described: Described, length: int) -> Statement | None:
    """Return the lowest taxon, from realm to class, by the taxon head's probabilities, float32 [classes], if any."""
    for rank in reversed(EMBEDDED_RANKS):
        taxon, score = likeliest(probabilities, [lineage[rank] for lineage in described.taxa])
        if taxon and score >= described.limit(rank, taxon, length):
            lineage = next(one for one in described.taxa if one[rank] == taxon)
            return Statement({one: lineage[one] for one in RANKS[: RANKS.index(rank) + 1]}, rank, score)
    return None


def likeliest(probabilities: Rows, values: Sequence[str]) -> tuple[str, float]:
    """Return the likeliest value of classes, and its probability: the sum over classes with this value."""
    names, number = np.unique(values, return_inverse=True)
    sums = np.bincount(number, probabilities)
    return str(names[sums.argmax()]), float(sums.max())


def combine(by_kmers: Statement | None, note: str, by_embeddings: Statement | None) -> tuple[Statement | None, str]:
    """Return the statement of lower rank, by shared k-mers if equal, and a note, e.g. that the two disagree."""
    first, second = by_kmers, by_embeddings
    if second and (not first or RANKS.index(second.rank) > RANKS.index(first.rank)):
        first, second = second, first
    notes = [note] if note else []
    if first and not note and RANKS.index(first.rank) < RANKS.index("family"):
        notes.append(NOT_CLOSE)
    if first and second and first.lineage.get(second.rank) not in (second.lineage[second.rank], None):
        source = "embeddings" if second is by_embeddings else "shared k-mers"
        notes.append(f"{source} say {second.lineage[second.rank]}")
    return first, "; ".join(notes)


def describe_statement(statement: Statement | None, note: str, genome: str = "") -> dict[str, Any]:
    """Return the name columns of a statement; `genome` is the genome type by embeddings, if known."""
    columns = dict.fromkeys(("taxonomy", "taxon_rank", "taxon_score", "taxon_length", "virus"), "")
    columns |= {"taxon_note": note, "genome": genome}
    if not statement:
        return columns | {"virus": kind_of({}, genome, "")}
    taxa = [statement.lineage.get(rank, "") for rank in RANKS[: RANKS.index(statement.rank) + 1]]
    known = taxa_of_ictv()
    places = [place for place in zip(RANKS, taxa, strict=False) if place in known.index]
    genomes, hosts = ([value for place in places if (value := str(known.at[place, of]))] for of in ("genome", "host"))
    genome = genomes[-1] if genomes else genome
    lowest = (statement.rank, taxa[-1])
    lengths = [str(known.at[lowest, end]) for end in ("shortest", "longest")] if lowest in places else []
    return columns | {
        "taxonomy": ";".join(["Viruses", *taxa]),
        "taxon_rank": statement.rank,
        "taxon_score": f"{statement.score:.3f}",
        "taxon_length": "-".join(filter(None, lengths)),
        "genome": genome,
        "virus": kind_of(statement.lineage, genome, hosts[-1] if hosts else ""),
    }


class Names(NamedTuple):
    """Names of a sample's genes, contigs and regions.

    Attributes:
        genes: Columns `function` and `function_score`, text, of all proteins in order.
        owners: `NAME_COLUMNS` without `why`, by the numbers of contigs and regions.
    """

    genes: pd.DataFrame
    owners: pd.DataFrame


def name_sample(
    owners: Mapping[int, Integers],
    lengths: Mapping[int, int],
    proteins: pd.DataFrame,
    proteins_faa: Path,
    inputs: Callable[[Integers], Rows],
    embedded: Mask,
    references: Sequence[References],
    heads: Heads | None,
) -> Names:
    """Name contigs and regions by their genes.

    Args:
        owners: Numbers of the genes of each contig and region, by the number of the contig or region.
        lengths: Lengths in bases, by the same number.
        proteins: Table of `describe_groups`.
        proteins_faa: Residues of the proteins, file of prepare.
        inputs: Returns `protein_inputs` of proteins by their numbers.
        embedded: Proteins with an embedding, bool [proteins]; the others get no function.
        references: Shipped references, with a model of ranks, then references of the user.
        heads: Heads of the encoder; with None, functions are empty and taxa are by k-mers alone.
    """
    numbers = [number for number, genes in owners.items() if len(genes)]
    genes = pd.DataFrame({"function": "", "function_score": ""}, index=range(len(proteins)))
    found = []
    for first in range(0, len(numbers), BLOCK):
        block = numbers[first : first + BLOCK]
        rows = [owners[number] for number in block]
        leaves: dict[int, Rows] = {}
        if heads:
            read = [of[embedded[of]] for of in rows]
            named, leaves = _by_heads(heads, inputs(np.concatenate(read)), np.array(list(map(len, read))))
            named.index = pd.Index(np.concatenate(read))
            named = named[~named.index.duplicated()]  # a provirus has genes of its contig
            genes.loc[named.index, named.columns] = named
        hits = _compare(rows, proteins, proteins_faa, references)
        taxa = _taxa(hits[0], references[0], [lengths[number] for number in block], leaves, heads)
        table = taxa.join(_closest(hits, references))
        if heads:
            functions = genes["function"].to_numpy()
            table["hallmarks"] = [str(np.isin(functions[of], HALLMARKS).sum()) for of in rows]
        found.append(table.set_axis(block))
    together = (pd.concat(found) if found else pd.DataFrame()).reindex(index=list(owners), columns=NAME_COLUMNS[:-1])
    return Names(genes, together.astype(object).fillna(""))


def _by_heads(heads: Heads, inputs: Rows, sizes: Integers) -> tuple[pd.DataFrame, dict[int, Rows]]:
    """Return `function` and `function_score` of genes, as text, and probabilities of taxa by owners with a gene.

    The inputs are of the genes of one owner after another; `sizes` are their numbers.
    """
    each = heads.function.probabilities(inputs, np.ones(len(inputs), np.int64))
    named = functions_of(each, heads.described)
    named["function_score"] = [f"{score:.4f}" if score == score else "" for score in named["function_score"]]
    some = np.flatnonzero(sizes)
    return named, dict(zip(some.tolist(), heads.taxon.probabilities(inputs, sizes[some]), strict=True))


def _compare(
    rows: Sequence[Integers], proteins: pd.DataFrame, proteins_faa: Path, references: Sequence[References]
) -> list[pd.DataFrame]:
    """Return `shared_kmers` of owners with each of the references; `rows` are the numbers of the owners' genes."""
    counts = proteins["counts"].to_numpy()
    counted = [numbers[counts[numbers]] for numbers in rows]  # only frames that are evidence
    owners = np.repeat(np.arange(len(rows)), list(map(len, counted)))
    sketches = sketch_proteins(proteins.iloc[np.concatenate(counted)], proteins_faa, owners)
    return [shared_kmers(sketches, one.index) for one in references]


def _taxa(
    hits: pd.DataFrame, references: References, lengths: Sequence[int], leaves: Mapping[int, Rows], heads: Heads | None
) -> pd.DataFrame:
    """Return the taxon columns of owners, one row each, from k-mers and the taxon head's probabilities."""
    by_kmers = ranks_by_kmers(hits, references).to_dict("index")
    rows = []
    for owner, length in enumerate(lengths):
        proven = state_by_kmers(by_kmers[owner], references, length) if owner in by_kmers else (None, "")
        probabilities = leaves.get(owner)
        rows.append(_taxon_columns(*proven, length, probabilities, heads.described if heads else None))
    return pd.DataFrame(rows)


def sketch_proteins(proteins: pd.DataFrame, proteins_faa: Path, owners: Integers) -> Sketches:
    """Return the k-mers of proteins by their owners, int64 [proteins]; residues are read from proteins.faa."""
    return sketch(read_residues(proteins_faa, proteins), owners)


def _taxon_columns(
    by_kmers: Statement | None, note: str, length: int, probabilities: Rows | None, described: Described | None
) -> dict[str, Any]:
    """Return the taxon columns of one owner, from the statement by k-mers and the taxon head's probabilities."""
    by_embeddings, genome = None, ""
    if probabilities is not None and described:
        by_embeddings = state_by_embeddings(probabilities, described, length)
        likely, score = likeliest(probabilities, [genome_of_class(taxon["class"]) for taxon in described.taxa])
        genome = likely if score >= described.limit("genome", likely, length) else ""
    return describe_statement(*combine(by_kmers, note, by_embeddings), genome)


def _closest(hits: Sequence[pd.DataFrame], references: Sequence[References]) -> pd.DataFrame:
    """Return columns on the closest reference, by `owner`; owners without a close reference are left out."""
    found = []
    for of, one in zip(hits, references, strict=True):
        closest = closest_references(of)
        named = one.table[["record", "name"]].iloc[closest["reference"]].set_axis(closest.index)
        found.append(closest.assign(closest=named["record"], closest_name=named["name"]))
    best = pd.concat(found).sort_values("share", ascending=False, kind="stable")
    best = best[~best.index.duplicated()]
    columns = {"closest_share": "share", "closest_identity": "identity"}
    for column, source in columns.items():
        best[column] = [f"{value:.3f}" for value in best[source]]
    return best[["closest", "closest_name", *columns]]
