"""merge: the embeddings of all shards of a sample, in the order of its input."""

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from virnucpro import __version__
from virnucpro.calling import CALL_FILES
from virnucpro.data.description import NUCLEOTIDES, EmbeddingDescription
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file, write_blocks
from virnucpro.data.provenance import (
    RECORDS,
    Provenance,
    begin_writing,
    checked_input,
    delete_outputs,
    read_provenance,
    write_provenance,
)
from virnucpro.data.tables import read_table
from virnucpro.embedding.gather import GatheredPieces
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "numpy", "biopython", "h5py")


def merge(folder: Path, settings: Mapping[str, Any] | None = None, nucleotides: bool = False) -> None:
    """Write one file with an embedding for every protein of a sample, in input order.

    Writes embeddings.h5 into the sample's folder, or into the folder nucleotides in it. Calls that were made from other
    embeddings are deleted.

    Args:
        folder: the sample's, with what prepare, pack and embed wrote.
        settings: the configuration, for the provenance.
        nucleotides: whether to merge the embeddings of the nucleotides of its frames, not those of its proteins.

    Raises:
        UserError: a file is not what the stages before wrote, an id is missing, there twice or not finite, or the
            shards were embedded in different ways.
    """
    sample, folder = folder, folder / NUCLEOTIDES if nucleotides else folder
    records, output = folder / RECORDS, folder / "embeddings.h5"
    prepared, duplicates = sample / "prepared", folder / "duplicates.tsv"
    packed = read_provenance(records, "pack")
    inputs = {
        "proteins.tsv": checked_input(prepared / "proteins.tsv", sample / RECORDS, "prepare"),
        "duplicates.tsv": checked_input(duplicates, records, "pack"),
    }
    shards = [folder / "shards" / f"{shard['shard']}.h5" for shard in packed.details["shards"]]
    runs = [_checked_run(path, packed) for path in shards]
    inputs |= {path.name: checked_input(path, path.with_suffix(".json"), "embed") for path in shards}
    files = [EmbeddingFile(path) for path in shards]
    description = EmbeddingDescription.from_json(packed.settings["embedding"])
    _check_source(files, description)

    proteins = read_proteins(prepared, "protein", "residues")
    gathered = GatheredPieces(proteins["protein"].tolist(), proteins["residues"].to_numpy(), description, files)
    gathered.share(read_table(duplicates, "protein", "same_as"), folder)
    gathered.check_complete(prepared)
    residues = gathered.pieces.residues if files[0].has_residues else None
    begin_writing(records, "merge", [output])
    with new_embedding_file(output, gathered.ids, description, residues) as merged:
        write_blocks(merged["embedding"], gathered.means())
        if residues is not None:
            write_blocks(merged["residue_embedding"], gathered.residues())
    details = _details(read_provenance(sample / RECORDS, "prepare"), description, runs, settings or {})
    write_provenance(records, "merge", {}, inputs, [output], details)
    _delete_other_calls(sample, output)
    logger.info("merge: %s: %d embeddings from %d shards", output, len(gathered.ids), len(files))


def _delete_other_calls(sample: Path, embeddings: Path) -> None:
    """Delete calls of a sample that were made from other embeddings than those that are in a file now."""
    made = read_provenance(embeddings.with_name(RECORDS), "merge").outputs[embeddings.name]
    try:
        called_from = read_provenance(sample / RECORDS, "call").inputs[str(embeddings.relative_to(sample))].sha256
    except (UserError, KeyError):
        called_from = ""
    if called_from != made.sha256:
        delete_outputs(sample / RECORDS, "call", CALL_FILES)


def _checked_run(shard: Path, packed: Provenance) -> Provenance:
    """Return the record of a shard's embedding, which must be that of the manifest as it is now."""
    run = read_provenance(shard.with_suffix(".json"), "embed")
    manifest = packed.outputs.get(f"manifests/{shard.stem}.json")
    made_from = run.inputs.get("manifest")
    if manifest is None or made_from is None or made_from.sha256 != manifest.sha256:
        raise UserError(f"{shard}: made from another manifest; delete it and run the embed stage again")
    return run


def _check_source(files: Sequence[EmbeddingFile], description: EmbeddingDescription) -> None:
    for file in files:
        file.description.check_same(description, file.path, "what was packed")
        if file.has_residues != files[0].has_residues:
            raise UserError(
                f"{file.path} and {files[0].path}: one has embeddings of residues, the other has not; delete the older"
                " and run again"
            )


def _details(
    prepared: Provenance, description: EmbeddingDescription, runs: Sequence[Provenance], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a sample's result was made from, with what and how, for people."""
    ran = [run.details for run in runs]
    return {
        "input": {"path": prepared.details["fasta"], "sha256": prepared.inputs["fasta"].sha256},
        "embedding": description.as_json(),
        "settings": settings,
        "devices": sorted({run["device"] for run in ran}),
        "attention": sorted({run["attention"] for run in ran}),
        "seconds": round(sum(run["seconds"] for run in ran), 3),  # so that no rate is infinite
        "versions": {"virnucpro": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "command": os.environ.get("VIRNUCPRO_COMMAND"),  # how the workflow was started, which a stage cannot see
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
