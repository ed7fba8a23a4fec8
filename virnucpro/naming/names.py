"""Name the viral contigs and proviruses of a sample, and the genes in them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from virnucpro.calling.result_files import NAME_COLUMNS
from virnucpro.data.arrays import Integers, Rows
from virnucpro.naming import RANKS, class_of
from virnucpro.naming.heads import Described, Heads
from virnucpro.naming.kmers import Sketches, shared_kmers, sketch
from virnucpro.naming.references import References
from virnucpro.naming.taxonomy import closest_references, genome_of_class, kind_of, ranks_by_kmers, taxa_of_ictv

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
EMBEDDED_RANKS = RANKS[:4]  # realm to class: embeddings prove no rank below
NO_FAMILY = "ICTV has no family there"
NOT_CLOSE = "no known family is close enough"


class Statement(NamedTuple):
    """The lowest taxon that is proven: its lineage from realm down, its rank, and the probability that it is right."""

    lineage: dict[str, str]
    rank: str
    score: float


def functions_of(probabilities: Rows, described: Described) -> pd.DataFrame:
    """Return `function` and `function_score` of genes, empty where no category reaches its limit.

    The probabilities are of the function head, float32 [genes, categories].
    """
    best = probabilities.argmax(axis=1) if len(probabilities) else np.empty(0, np.int64)
    score = probabilities[np.arange(len(best)), best]
    named = score >= np.array(described.function_limits)[best]
    names = np.where(named, np.array(described.functions)[best], "")
    return pd.DataFrame({"function": names, "function_score": np.where(named, score, np.nan)})


def state_by_kmers(row: Mapping[Any, Any], references: References, length: int) -> tuple[Statement | None, str]:
    """Return what the closest references prove, and a note on the family.

    The row is of `ranks_by_kmers`, of references with a model of ranks; the length is in bases.
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
    """Return the lowest rank, from realm to class, that the taxon head's probabilities, float32 [classes], prove."""
    for rank in reversed(EMBEDDED_RANKS):
        taxon, score = likeliest(probabilities, [lineage[rank] for lineage in described.taxa])
        if taxon and score >= described.limit(rank, taxon, length):
            lineage = next(one for one in described.taxa if one[rank] == taxon)
            return Statement({one: lineage[one] for one in RANKS[: RANKS.index(rank) + 1]}, rank, score)
    return None


def likeliest(probabilities: Rows, values: Sequence[str]) -> tuple[str, float]:
    """Return the likeliest value, and the sum of the probabilities, float32 [classes], of the classes that have it."""
    names, number = np.unique(values, return_inverse=True)
    sums = np.bincount(number, probabilities)
    return str(names[sums.argmax()]), float(sums.max())


def combine(by_kmers: Statement | None, note: str, by_embeddings: Statement | None) -> tuple[Statement | None, str]:
    """Return the lower of two statements, shared k-mers first, and a note, also on where the two disagree."""
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
    """Return the columns of names that follow from a statement; the genome type is that of the embeddings, if known."""
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
    """What names a sample.

    Attributes:
        genes: `function` and `function_score` of all proteins, text, in their order.
        owners: `NAME_COLUMNS` without `why`, by the numbers of the contigs and regions.
    """

    genes: pd.DataFrame
    owners: pd.DataFrame


def name_sample(
    owners: Mapping[int, Integers],
    lengths: Mapping[int, int],
    proteins: pd.DataFrame,
    proteins_faa: Path,
    inputs: Callable[[Integers], Rows],
    references: Sequence[References],
    heads: Heads | None,
) -> Names:
    """Name contigs and regions by their genes.

    Args:
        owners: numbers of the genes of each contig and region, by a number of its own.
        lengths: in bases, by this number.
        proteins: of `describe_groups`.
        proteins_faa: their residues, as prepare wrote it.
        inputs: returns `protein_inputs` of the proteins with these numbers.
        references: shipped ones first, which have a model of ranks, then those of the user.
        heads: None where there are none for the encoder: functions stay empty, and taxa rest on k-mers alone.
    """
    rows = [genes for genes in owners.values() if len(genes)]
    names = [name for name, genes in owners.items() if len(genes)]
    genes = pd.DataFrame({"function": "", "function_score": ""}, index=range(len(proteins)))
    leaves: Rows | None = None
    if heads and rows:
        found = [_by_heads(heads, inputs(numbers)) for numbers in rows]
        leaves = np.concatenate([of_taxon for _, of_taxon in found])
        named = functions_of(np.concatenate([of_genes for of_genes, _ in found]), heads.described)
        named["function_score"] = [f"{score:.4f}" if score == score else "" for score in named["function_score"]]
        named.index = pd.Index(np.concatenate(rows))
        genes.update(named[~named.index.duplicated()])
    counts = proteins["counts"].to_numpy()
    counted = [numbers[counts[numbers]] for numbers in rows]  # of frames, those that are evidence
    together = proteins.iloc[np.concatenate([*counted, np.empty(0, np.int64)])]
    sketches = sketch_proteins(together, proteins_faa, np.repeat(np.arange(len(rows)), list(map(len, counted))))
    hits = [shared_kmers(sketches, one.index) for one in references]
    first = references[0]
    by_kmers = ranks_by_kmers(hits[0], first).to_dict("index")
    spans = [lengths[name] for name in names]
    proven = [
        state_by_kmers(by_kmers[owner], first, length) if owner in by_kmers else (None, "")
        for owner, length in enumerate(spans)
    ]
    described = heads.described if heads else None
    columns = [
        _taxon_columns(*by_kmer, spans[owner], leaves[owner] if leaves is not None else None, described)
        for owner, by_kmer in enumerate(proven)
    ]
    table = pd.DataFrame(columns, index=names).join(_closest(hits, references, names))
    functions = genes["function"].to_numpy()
    table["hallmarks"] = [str(np.isin(functions[numbers], HALLMARKS).sum()) if heads else "" for numbers in rows]
    return Names(genes, table.reindex(index=list(owners), columns=NAME_COLUMNS[:-1]).astype(object).fillna(""))


def _by_heads(heads: Heads, inputs: Rows) -> tuple[Rows, Rows]:
    """Return the probabilities of functions, float32 [genes, categories], and of taxa, float32 [1, classes]."""
    each, together = np.ones(len(inputs), np.int64), np.array([len(inputs)])
    return heads.function.probabilities(inputs, each), heads.taxon.probabilities(inputs, together)


def sketch_proteins(proteins: pd.DataFrame, proteins_faa: Path, owners: Integers) -> Sketches:
    """Return the k-mers of proteins by their owners, int64 [proteins]; residues are read as prepare wrote them."""
    letters = []
    with proteins_faa.open("rb") as file:
        for offset, residues in zip(proteins["offset"].tolist(), proteins["residues"].tolist(), strict=True):
            file.seek(offset)
            letters.append(file.read(residues))
    return sketch(letters, owners)


def _taxon_columns(
    by_kmers: Statement | None, note: str, length: int, probabilities: Rows | None, described: Described | None
) -> dict[str, Any]:
    """Return the columns that name the taxon, from what k-mers prove and from the taxon head's probabilities."""
    by_embeddings, genome = None, ""
    if probabilities is not None and described:
        by_embeddings = state_by_embeddings(probabilities, described, length)
        likely, score = likeliest(probabilities, [genome_of_class(taxon["class"]) for taxon in described.taxa])
        genome = likely if score >= described.limit("genome", likely, length) else ""
    return describe_statement(*combine(by_kmers, note, by_embeddings), genome)


def _closest(hits: Sequence[pd.DataFrame], references: Sequence[References], names: Sequence[int]) -> pd.DataFrame:
    """Return `closest`, `closest_name`, `closest_share` and `closest_identity` by the names of the owners."""
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
    best.index = pd.Index([names[owner] for owner in best.index], dtype=int)
    return best[["closest", "closest_name", *columns]]
