"""Names in the tables of a sample: contigs, regions, genes, and the reason of each call."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from virnucpro.calling.classifier import protein_inputs
from virnucpro.calling.features import Features
from virnucpro.calling.regions import Region, genes_within
from virnucpro.calling.result_files import NAME_COLUMNS
from virnucpro.data.arrays import Floats, Integers
from virnucpro.data.records import Record, read_contigs
from virnucpro.errors import UserError
from virnucpro.naming import heads as heads_file
from virnucpro.naming.heads import Heads, load_heads
from virnucpro.naming.kmers import shared_kmers
from virnucpro.naming.names import HALLMARKS, name_sample, sketch_proteins
from virnucpro.naming.references import References
from virnucpro.naming.taxonomy import closest_references
from virnucpro.naming.topology import ends_of, topologies
from virnucpro.naming.why import explain
from virnucpro.proteins.table import spans_of

BLOCK = 1_000  # contigs compared with references at once

logger = logging.getLogger(__name__)


class NamedSample(NamedTuple):
    """Tables of a sample with names.

    Attributes:
        proteins: Table of proteins with `function` and `function_score`.
        contigs: Table of calls with `topology`, `terminal_repeat` and `NAME_COLUMNS` before the last column. Contigs
            called cellular have no names.
        regions: `NAME_COLUMNS`, `topology` and `fdr` by the names of regions.
    """

    proteins: pd.DataFrame
    contigs: pd.DataFrame
    regions: pd.DataFrame


def choose_heads(path: Path | None, features: Features) -> Heads | None:
    """Return heads for the embeddings of a sample; without a path the shipped ones, or None for another encoder.

    Raises:
        UserError: The heads of this path were trained on other embeddings.
    """
    heads = load_heads(path or heads_file.DEFAULT)
    try:
        features.description.check_trained_for(heads.described.embedding, str(features.files[0].path))
    except UserError:
        if path:
            raise UserError(
                f"{path}: heads trained on other embeddings than {features.files[0].path}; remove heads, or fit them "
                "to this encoder: virnucpro train-names --help"
            ) from None
        logger.info("call: no functions and no taxa by embeddings: no heads for this encoder; see docs/names")
        return None
    return heads


def ends_and_borders(
    fasta: Path, regions: Mapping[str, list[Region]], refine: Callable[[Record, list[Region]], list[Region]]
) -> tuple[pd.DataFrame, dict[str, list[Region]]]:
    """Return `topologies` of the contigs of a file and regions with refined borders; the file is read once.

    Args:
        regions: Regions, by the names of contigs.
        refine: Result of `border_refiner`.
    """
    ends, refined = [], dict(regions)
    for contig in read_contigs(fasta):
        ends.append(ends_of(contig))
        if found := regions.get(ends[-1].contig):
            refined[ends[-1].contig] = refine(contig, found)
    return topologies(ends), refined


def shares_of_known(proteins: pd.DataFrame, proteins_faa: Path, references: References) -> "pd.Series[float]":
    """Return the proportion of a contig's k-mers that the closest known virus shares, by contig.

    Contigs without a close virus are left out. `proteins` is a table of `describe_groups`; only proteins that count are
    compared.
    """
    counted = np.flatnonzero(proteins["counts"])
    owners, names = pd.factorize(proteins["contig"].iloc[counted])
    cuts = np.flatnonzero(np.diff(owners // BLOCK)) + 1
    found = [
        closest_references(shared_kmers(sketch_proteins(proteins.iloc[rows], proteins_faa, numbers), references.index))
        for rows, numbers in zip(np.split(counted, cuts), np.split(owners, cuts), strict=True)
    ]
    share = pd.concat(found)["share"]
    return share.set_axis(names[share.index])


def name_calls(
    proteins_faa: Path,
    proteins: pd.DataFrame,
    log_odds: Floats,
    features: Features,
    contigs: pd.DataFrame,
    ends: pd.DataFrame,
    regions: Mapping[str, Sequence[Region]],
    measured: Mapping[str, Any],
    references: Sequence[References],
    heads: Heads | None = None,
) -> NamedSample:
    """Name the viral and unresolved contigs and the proviruses of a sample.

    Args:
        proteins_faa: Residues of the proteins, file of prepare.
        proteins: Table of `describe_groups`.
        log_odds: Log-odds of the proteins, float64 [proteins].
        contigs: Table of calls.
        ends: Result of `topologies`; contigs whose sequences are not known are missing.
        regions: Regions, by the names of contigs.
        measured: Evaluation of the classifier in its training.
        references: Shipped references, then references of the user.
        heads: Result of `choose_heads`.
    """
    places = proteins[["start", "end"]].to_numpy(np.int64)
    spans = {name: np.arange(*span) for name, span in spans_of(proteins["contig"]).items()}
    nothing = np.empty(0, np.int64)
    genes_of = {name: spans.get(name, nothing) for name in contigs["contig"]}
    rows = contigs.set_index("contig", drop=False)
    proviruses = [region for found in regions.values() for region in found if region.is_provirus]
    of_length = rows["length"].to_dict()
    genes = [
        *genes_of.values(),
        *(genes_within(one, genes_of[one.contig], places, of_length[one.contig]) for one in proviruses),
    ]
    named_calls = [*rows["call"], *(["viral"] * len(proviruses))]
    owners = {number: genes[number] for number, call in enumerate(named_calls) if call != "cellular"}
    lengths = dict(enumerate([*rows["length"], *(region.end - region.start for region in proviruses)]))
    between_ends = {one.contig: one for found in regions.values() for one in found if one.is_between_ends}
    for number, name in enumerate(rows.index):  # a viral contig is named by its genes between ends of the host
        if region := between_ends.get(name):
            owners[number] = genes[number] = genes_within(region, genes[number], places, of_length[name])
            lengths[number] = region.end - region.start

    def inputs(numbers: Integers) -> Any:
        each, place = np.unique(numbers, return_inverse=True)  # a provirus has genes of its contig
        return protein_inputs(features.embeddings(each), proteins.iloc[each])[place]

    embedded = features.embedded
    named = name_sample(owners, lengths, proteins, proteins_faa, inputs, embedded, references, heads)
    functions = named.genes["function"].to_numpy()
    table = named.owners.reindex(range(len(genes)), fill_value="")

    closest = zip(table["closest_name"], table["closest_share"].replace("", 0).astype(float), strict=True)
    calls = zip(rows["call"], rows["reason"], rows["length"], strict=True)
    calls_of = chain(calls, repeat(("", "", 0), len(proviruses)))  # the share of proviruses that are found is not known
    table["why"] = [
        explain(log_odds[of], functions[of].tolist(), HALLMARKS, *known, *call, measured)
        for of, known, call in zip(genes, closest, calls_of, strict=True)
    ]
    ends = ends.astype(object).reindex(rows.index).fillna("")
    table = table[NAME_COLUMNS].set_axis([*rows.index, *(region.name for region in proviruses)])
    joined = rows.join(ends).join(table.head(len(rows)))
    owner_of = {one.name: one.name if one.is_provirus else one.contig for found in regions.values() for one in found}
    of_regions = table.loc[list(owner_of.values())].join(joined[["topology", "fdr"]]).set_axis(list(owner_of))
    of_regions = of_regions.fillna({"topology": "provirus", "fdr": ""})
    of_regions.loc[[one.name for one in between_ends.values()], "topology"] = ""  # without the ends of their contigs
    order = [*contigs.columns[:-1], *ends.columns, *NAME_COLUMNS, contigs.columns[-1]]
    return NamedSample(proteins.join(named.genes), joined[order].reset_index(drop=True), of_regions)
