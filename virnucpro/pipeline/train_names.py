"""train-names: fit the heads and references that name viruses, from labeled proteins and genomes."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from virnucpro.calling.classifier import protein_inputs
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import Features
from virnucpro.calling.result_files import CELLULAR
from virnucpro.config import read_training
from virnucpro.data.arrays import Integers, Rows
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.fasta import read_fasta
from virnucpro.data.records import Record
from virnucpro.data.tables import read_table, write_table
from virnucpro.embedding.proteins import embed_file
from virnucpro.errors import UserError
from virnucpro.naming import RANKS
from virnucpro.naming.heads import Described, Heads, save_heads
from virnucpro.naming.kmers import Sketches, shared_kmers, sketch
from virnucpro.naming.names import sketch_proteins
from virnucpro.naming.references import References, make_references, save_references
from virnucpro.naming.sample import shares_of_known
from virnucpro.naming.taxonomy import closest_references
from virnucpro.proteins.genes import find_genes
from virnucpro.proteins.table import read_proteins
from virnucpro.training.cross_fit import group_weights
from virnucpro.training.functions import fit_functions
from virnucpro.training.taxa import fit_ranks, fit_taxa, held_out, measure_statements, units_of, weight_of_known

logger = logging.getLogger(__name__)

CELLULAR_GENES = 10_000  # genes of cellular fragments that are added to the labeled proteins
BLOCK = 4_000_000  # bases


def train_names(
    training: Path,
    embeddings: Path,
    sheet: Path,
    proteins: Path,
    functions: Path,
    lineage: Path,
    output_dir: Path,
    model: str,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Fit the heads of an encoder and the references, and evaluate them.

    Writes into `output_dir`:

    - heads.safetensors and references.npz
    - measured_functions.tsv and measured_taxa.tsv: How often functions and taxa are named, and right.
    - functions.h5: Embeddings of the labeled proteins, which a second run uses again.

    Args:
        training: Folder below `work` with the files of fragment and prepare.
        embeddings: Folder of the training's results, with embeddings.h5 and classifier/scores.tsv.
        functions: Table of labeled proteins: protein; category, several joined by `|`; cluster; copies, a name that
            near-copies share.
        lineage: Table of the viral records: record, realm to genus, and species.

    Raises:
        UserError: The files do not belong together.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    table = describe_groups(read_proteins(training / "prepared"))
    features = Features(embeddings, training, table["protein"].tolist(), False)
    fragments = _read_fragments(training, lineage)
    references = _reference_viruses(sheet, lineage)

    described = features.description
    embedded = output_dir / "functions.h5"
    if not embedded.exists():
        chosen = ("layers", "precision", "max_sequence_length", "long_proteins")
        settings = {name: getattr(described, name) for name in chosen}
        embed_file(proteins, embedded, model=model, device=device, token_budget=None, **settings)
    labeled, inputs = _labeled_proteins(embedded, proteins, functions)
    text = ("fragment", "label", "group", "split", "call")
    scores = read_table(embeddings / "classifier" / "scores.tsv", *text).set_index("fragment")
    cells, of_cells = _cellular_genes(table, features, scores, training, references, seed)
    labeled, inputs = pd.concat([labeled, cells]), np.concatenate([inputs, of_cells])
    of_functions = fit_functions(inputs, labeled, seed)

    viral = fragments[fragments["label"] == "viral"]
    taken = np.flatnonzero(table["contig"].isin(viral.index))
    sizes = table["contig"].iloc[taken].value_counts(sort=False)
    viral = viral.loc[sizes.index]
    of_taxa = fit_taxa(_inputs(features, table, taken), sizes, viral, seed)

    owners = table["contig"].iloc[taken].map({name: number for number, name in enumerate(viral.index)}).to_numpy()
    hits = shared_kmers(
        sketch_proteins(table.iloc[taken], training / "prepared" / "proteins.faa", owners), references.index
    )
    references = replace(references, ranks=fit_ranks(hits, references, viral))
    save_references(references, output_dir / "references.npz")
    limits = tuple(of_functions.categories), tuple(of_functions.limits), tuple(of_taxa.taxa), of_taxa.limits
    heads = Heads(of_functions.head.head, of_taxa.head.head, Described(features.description, *limits))
    save_heads(heads, output_dir / "heads.safetensors")
    known = closest_references(held_out(hits, references, viral, "unit"))["share"]
    known = known.set_axis(viral.index[known.index])
    logger.info(
        "train-names: the share of known k-mers weighs %.2f in log-odds",
        _weigh_known(known, table, scores, training, references),
    )
    of_ranks = measure_statements(hits, references, viral, of_taxa.head.probabilities, heads.described)
    write_table(of_functions.measured, output_dir / "measured_functions.tsv")
    write_table(of_ranks, output_dir / "measured_taxa.tsv")
    logger.info(
        "train-names: %d labels of proteins are contradicted by networks that have not seen them, and not learned from",
        of_functions.contradicted.sum(),
    )


def _read_fragments(training: Path, lineage: Path) -> pd.DataFrame:
    """Return the fragments of the training by name, with their taxa, `unit` and `length`."""
    text = ("fragment", "record", "label", "group")
    fragments = read_table(training / "fragments.tsv", *text).set_index("fragment")
    fragments = fragments.join(_read_lineage(lineage), on="record").fillna("")
    fragments["length"] = fragments["end"] - fragments["start"]
    return fragments.assign(unit=units_of(fragments, fragments["group"]))


def _read_lineage(path: Path) -> pd.DataFrame:
    columns = ["record", *RANKS, "species"]
    return read_table(path, *columns)[columns].set_index("record")


def _reference_viruses(sheet: Path, lineage: Path) -> References:
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


def _labeled_proteins(embedded: Path, proteins: Path, functions: Path) -> tuple[pd.DataFrame, Rows]:
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


def _cellular_genes(
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
    return cells, _inputs(features, table, rows)


def _weigh_known(
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


def _inputs(features: Features, table: pd.DataFrame, rows: Integers) -> Rows:
    return protein_inputs(features.rows(rows), table.iloc[rows])
