"""train-names: fit the heads and references that name viruses, from labeled proteins and genomes."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import Features
from virnucpro.data.tables import read_table, write_table
from virnucpro.embedding.proteins import embed_file
from virnucpro.naming.heads import Described, Heads, save_heads
from virnucpro.naming.kmers import shared_kmers
from virnucpro.naming.names import sketch_proteins
from virnucpro.naming.references import save_references
from virnucpro.naming.taxonomy import closest_references
from virnucpro.proteins.table import read_proteins
from virnucpro.training.functions import fit_functions
from virnucpro.training.labeled import (
    cellular_genes,
    inputs_of,
    labeled_proteins,
    read_fragments,
    reference_viruses,
    weigh_known,
)
from virnucpro.training.taxa import fit_ranks, fit_taxa, held_out, measure_statements

logger = logging.getLogger(__name__)


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
    fragments = read_fragments(training, lineage)
    references = reference_viruses(sheet, lineage)

    described = features.description
    embedded = output_dir / "functions.h5"
    if not embedded.exists():
        chosen = ("layers", "precision", "max_sequence_length", "long_proteins")
        settings = {name: getattr(described, name) for name in chosen}
        embed_file(proteins, embedded, model=model, device=device, token_budget=None, **settings)
    labeled, inputs = labeled_proteins(embedded, proteins, functions)
    text = ("fragment", "label", "group", "split", "call")
    scores = read_table(embeddings / "classifier" / "scores.tsv", *text).set_index("fragment")
    cells, of_cells = cellular_genes(table, features, scores, training, references, seed)
    labeled, inputs = pd.concat([labeled, cells]), np.concatenate([inputs, of_cells])
    of_functions = fit_functions(inputs, labeled, seed)

    viral = fragments[fragments["label"] == "viral"]
    taken = np.flatnonzero(table["contig"].isin(viral.index))
    sizes = table["contig"].iloc[taken].value_counts(sort=False)
    viral = viral.loc[sizes.index]
    of_taxa = fit_taxa(inputs_of(features, table, taken), sizes, viral, seed)

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
        weigh_known(known, table, scores, training, references),
    )
    of_ranks = measure_statements(hits, references, viral, of_taxa.head.probabilities, heads.described)
    write_table(of_functions.measured, output_dir / "measured_functions.tsv")
    write_table(of_ranks, output_dir / "measured_taxa.tsv")
    logger.info(
        "train-names: %d labels of proteins are contradicted by networks that have not seen them, and not learned from",
        of_functions.contradicted.sum(),
    )
