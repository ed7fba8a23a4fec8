"""references: read the user's viruses from FASTA and GenBank files: protein k-mers, names and lineages."""

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from virnucpro.config import find_references
from virnucpro.data.fasta import read_records
from virnucpro.data.files import file_digest
from virnucpro.data.genbank import read_genbank, record_name
from virnucpro.data.provenance import begin_writing, write_provenance
from virnucpro.data.records import NUCLEOTIDES, Record, read_contigs
from virnucpro.errors import UserError
from virnucpro.naming import RANKS
from virnucpro.naming.kmers import Sketches, sketch
from virnucpro.naming.references import make_references, save_references
from virnucpro.naming.taxonomy import taxa_of_ictv
from virnucpro.proteins.genes import find_genes

logger = logging.getLogger(__name__)

MOST = 65_535  # references; the index has 16 bits for a number
BLOCK = 64  # records whose genes are found at once; limits the memory


class Reference(NamedTuple):
    """A virus or a segment: its sequence, name, and taxa by rank."""

    record: Record
    name: str
    taxa: dict[str, str]


def make_references_file(folder: Path, output: Path, threads: int = 1, key: str = "") -> None:
    """Make references from the FASTA and GenBank files of a folder.

    Each record is one reference: segments of one virus stay separate. The name of a reference is the description in its
    FASTA header, or its organism in GenBank, or else its id. Taxa in GenBank's lineage are used if ICTV has them. The
    record of the stage, a .json, is written beside the .npz.

    Args:
        folder: Folder with the files; subfolders are not searched.

    Raises:
        UserError: There is no reference, or there are too many. A file cannot be read in the format of its suffix. A
            record has no sequence, or two records have one id.
    """
    files = find_references(folder)
    for path in sorted(set(folder.iterdir()) - files.keys()):
        if path.is_file() and not path.name.startswith("."):
            logger.warning("%s is left out: its suffix is not of a FASTA or GenBank file", path)
    record = output.with_suffix(".json")
    begin_writing(record, [output])
    inputs = {path.name: file_digest(path) for path in files}
    rows: list[dict[str, str]] = []
    sketches = []
    references = _read(files)
    while block := list(islice(references, BLOCK)):
        found = find_genes([reference.record for reference in block], threads)
        owners = np.repeat(np.arange(len(rows), len(rows) + len(block)), [len(genes) for genes in found])
        sketches.append(sketch([gene.protein for genes in found for gene in genes], owners))
        rows += [{"record": one.record.name.decode(), "name": one.name} | one.taxa for one in block]
    if not any(len(of_block.kmers) for of_block in sketches):
        raise UserError(f"{folder}: no protein in any record; add FASTA files, or GenBank files with sequences")
    joined = Sketches(*map(np.concatenate, zip(*sketches, strict=True)))
    for number in sorted(set(range(len(rows))) - set(joined.owners.tolist())):
        logger.warning("%s: record %s has no protein that can be compared", folder, rows[number]["record"])
    save_references(make_references(joined, pd.DataFrame(rows).fillna("")), output)
    write_provenance(record, "references", {}, inputs, [output], {"references": len(rows)}, key)
    logger.info("references: %s: %d references of %d files", folder, len(rows), len(files))


def _read(files: Mapping[Path, str]) -> Iterator[Reference]:
    """Yield the references of files in their formats; ids are unique."""
    where: dict[bytes, Path] = {}
    for path, kind in files.items():
        for reference in _READERS[kind](path):
            name = reference.record.name
            if name in where:
                raise UserError(f"{path}: record {name.decode()} is in {where[name]} too; delete or rename one of them")
            if len(where) == MOST:
                raise UserError(f"{path}: more than {MOST:,} records in the folder; take out the least useful files")
            where[name] = path
            yield reference


def _read_fasta(path: Path) -> Iterator[Reference]:
    for (name, description, _), contig in zip(read_records(path), read_contigs(path), strict=True):
        if not contig.letters:
            raise UserError(f"{path}: record {name} has no sequence; add it, or delete the record")
        yield Reference(contig, " ".join(description.split()) or name, {})


def _read_genbank(path: Path) -> Iterator[Reference]:
    for genbank in read_genbank(path, features=False):
        notes: dict[str, Any] = genbank.annotations
        name = record_name(genbank)
        if not (genbank.seq and genbank.seq.defined):
            logger.warning("%s: record %s has no sequence and is left out", path, name)
            continue
        letters = bytes(genbank.seq)
        if odd := letters.translate(None, NUCLEOTIDES):
            raise UserError(f"{path}: {chr(odd[0])!r} in {name} is no IUPAC nucleotide code; give DNA or RNA")
        contig = Record(name.encode(), letters.replace(b"U", b"T"), circular=notes.get("topology") == "circular")
        yield Reference(contig, notes.get("organism", "").strip(".") or name, _taxa(notes.get("taxonomy", [])))


def _taxa(lineage: list[str]) -> dict[str, str]:
    """Return the taxa of a lineage that are in ICTV, by rank.

    Examples:
        >>> _taxa(["Viruses", "Duplodnaviria", "Caudoviricetes", "unclassified Caudoviricetes"])
        {'realm': 'Duplodnaviria', 'class': 'Caudoviricetes'}
    """
    known = taxa_of_ictv().index
    return {rank: taxon for rank in RANKS for taxon in lineage if (rank, taxon) in known}


_READERS = {"fasta": _read_fasta, "genbank": _read_genbank}
