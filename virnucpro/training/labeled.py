"""Data from which heads and references are fitted: labeled proteins, viral fragments and genomes."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from virnucpro.calling.classifier import protein_inputs
from virnucpro.calling.features import Features
from virnucpro.calling.result_files import CELLULAR
from virnucpro.config import read_training
from virnucpro.data.arrays import Integers, Rows
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.fasta import read_fasta
from virnucpro.data.records import Record
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError
from virnucpro.naming import RANKS
from virnucpro.naming.kmers import Sketches, shared_kmers, sketch
from virnucpro.naming.names import sketch_proteins
from virnucpro.naming.references import References, make_references
from virnucpro.naming.sample import shares_of_known
from virnucpro.proteins.genes import find_genes
from virnucpro.training.cross_fit import group_weights
from virnucpro.training.taxa import units_of, weight_of_known

logger = logging.getLogger(__name__)

CELLULAR_GENES = 10_000  # genes of cellular fragments that are added to the labeled proteins
BLOCK = 4_000_000  # bases


def read_fragments(training: Path, lineage: Path) -> pd.DataFrame:
    """Return the fragments of the training by name, with their taxa, `unit` and `length`."""
    text = ("fragment", "record", "label", "group")
    fragments = read_table(training / "fragments.tsv", *text).set_index("fragment")
    fragments = fragments.join(_read_lineage(lineage), on="record").fillna("")
    fragments["length"] = fragments["end"] - fragments["start"]
    return fragments.assign(unit=units_of(fragments, fragments["group"]))


def _read_lineage(path: Path) -> pd.DataFrame:
    columns = ["record", *RANKS, "species"]
    return read_table(path, *columns)[columns].set_index("record")


def reference_viruses(sheet: Path, lineage: Path) -> References:
    """Return the viral records of a training as references, with a column `unit` in their table."""
    table = read_table(sheet, "record", "organism").drop_duplicates("record").set_index("record", drop=False)
    names = table["organism" if "organism" in table else "record"]
    rows = read_training(sheet, lambda *_: None)
    rows = rows[rows["label"] == "viral"].drop_duplicates("record").set_index("record")
    if "" in rows.index:
        raise UserError(f"{sheet}: a viral row has no record; train-names needs a row for each record")
    found: list[str] = []
    sketches: list[Sketches] = []
    for block in _blocks(rows):
        for contig, genes in zip(block, find_genes(block, 2), strict=True):
            proteins = [gene.protein for gene in genes]
            sketches.append(sketch(proteins, np.full(len(proteins), len(found))))
            found.append(contig.name.decode())
    joined = Sketches(*(np.concatenate(parts) for parts in zip(*sketches, strict=True)))
    table = pd.DataFrame({"record": found, "name": names.loc[found].to_numpy()})
    table = table.join(_read_lineage(lineage), on="record").fillna("")
    references = make_references(joined, table)
    references.table["unit"] = units_of(references.table, rows["group"].loc[found].reset_index(drop=True))
    logger.info("train-names: %d references with %d k-mers", len(found), len(references.index.kmers))
    return references


def _blocks(rows: pd.DataFrame) -> Iterator[list[Record]]:
    """Yield records of the table in blocks of about 4 Mbp, each record once."""
    block: list[Record] = []
    size = 0
    for fasta, of_file in rows.groupby("fasta", sort=False):
        for name, sequence in read_fasta(str(fasta)):
            if name in of_file.index:
                block.append(Record(name.encode(), sequence.upper().encode()))
                size += len(sequence)
            if size >= BLOCK:
                yield block
                block, size = [], 0
    if block:
        yield block


def labeled_proteins(embedded: Path, proteins: Path, functions: Path) -> tuple[pd.DataFrame, Rows]:
    """Return the labeled proteins of the table, and their inputs."""
    file = EmbeddingFile(embedded)
    columns = ["protein", "category", "cluster", "copies"]
    labeled = read_table(functions, *columns)[columns].set_index("protein")
    if missing := labeled.index.difference(file.ids).tolist():
        raise UserError(f"{proteins}: no protein {missing[0]}, which {functions} names; give the FASTA of the table")
    places = pd.Series(np.arange(len(file.ids)), file.ids).loc[labeled.index].sort_values()
    residues = {name: len(sequence) for name, sequence in read_fasta(str(proteins))}
    log_residues = np.log(places.index.map(residues).to_numpy(np.float32))
    flat = np.asarray(file.rows(places.to_numpy()), np.float32).reshape(len(places), -1)
    return labeled.loc[places.index], np.column_stack([flat, log_residues])


def cellular_genes(
    table: pd.DataFrame,
    features: Features,
    scores: pd.DataFrame,
    training: Path,
    references: References,
    seed: int,
) -> tuple[pd.DataFrame, Rows]:
    """Return genes of cellular fragments without a prophage, as labeled proteins, and their inputs.

    Fragments that are not called cellular are left out. So are fragments with a gene that shares a tenth of its k-mers
    with a reference.
    """
    clean = scores.index[(scores["label"] == "cellular") & (scores["call"] == "cellular")]
    rows = np.flatnonzero(table["contig"].isin(clean))
    hits = shared_kmers(
        sketch_proteins(table.iloc[rows], training / "prepared" / "proteins.faa", np.arange(len(rows))),
        references.index,
    )
    viral = hits.loc[(hits["shared"] >= 2) & (hits["shared"] >= 0.1 * hits["kmers"]), "owner"]
    spoilt = set(table["contig"].iloc[rows[viral.unique()]])
    rows = rows[~table["contig"].iloc[rows].isin(spoilt).to_numpy()]
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:CELLULAR_GENES])
    names = table["contig"].iloc[rows].to_numpy()
    cells = pd.DataFrame({"category": CELLULAR, "cluster": names, "copies": table["protein"].iloc[rows].to_numpy()})
    return cells, inputs_of(features, table, rows)


def weigh_known(
    known: "pd.Series[float]", table: pd.DataFrame, scores: pd.DataFrame, training: Path, references: References
) -> float:
    """Return the weight of known viruses that fits the cross-fitted log-odds of the training fragments.

    `known` has the shares of viral fragments, with their own family left out.
    """
    scores = scores[scores["split"] == "train"]
    viral = (scores["label"] == "viral").to_numpy()
    cells = table[table["contig"].isin(scores.index[~viral])]
    share = pd.concat([known, shares_of_known(cells, training / "prepared" / "proteins.faa", references)])
    weights = group_weights(scores["group"].to_numpy(str), viral.astype(np.int64))
    return weight_of_known(
        scores["log_odds"].to_numpy(np.float64),
        np.asarray(share.reindex(scores.index, fill_value=0), np.float64),
        viral,
        weights,
    )


def inputs_of(features: Features, table: pd.DataFrame, rows: Integers) -> Rows:
    """Return the inputs of the networks for some proteins of a table, float32 [rows, inputs]."""
    return protein_inputs(features.rows(rows), table.iloc[rows])
