"""merge: join the embeddings of all shards of a sample, in the order of its input."""

import json
import logging
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from virnucpro import __version__
from virnucpro.calling.screen import SCREENED, read_screened
from virnucpro.data.description import PROTEINS, EmbeddingDescription
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file, write_blocks
from virnucpro.data.provenance import Provenance, begin_writing, checked_input, read_provenance, write_provenance
from virnucpro.data.tables import read_table
from virnucpro.embedding.gather import GatheredPieces
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "numpy", "biopython", "h5py")


def merge(work: Path, output: Path, encoder: str = PROTEINS, key: str = "") -> None:
    """Write one file with an embedding for every packed protein of a sample, in input order.

    Args:
        work: Folder of the sample below `work`, with the files of prepare, pack and embed; gets the record.
        encoder: `PROTEINS` or `NUCLEOTIDES`.

    Raises:
        UserError: A file is not as an earlier stage wrote it, or the shards were embedded with different settings. A
            protein has no embedding, more than one, or one that is not finite.
    """
    record, pack_record = work / f"merge{encoder}.json", work / f"pack{encoder}.json"
    prepare_record = work / "prepare.json"
    prepared, duplicates = work / "prepared", work / f"duplicates{encoder}.tsv"
    packed = read_provenance(pack_record, "pack")
    if missing := {"architecture", "screened"} - packed.details.keys():
        raise UserError(f"{pack_record}: an earlier version wrote it, without {min(missing)}; run the pack stage again")
    inputs = {
        "proteins.tsv": checked_input(prepared / "proteins.tsv", prepare_record, "prepare"),
        duplicates.name: checked_input(duplicates, pack_record, "pack"),
    }
    description = EmbeddingDescription.from_json(packed.settings["embedding"])
    runs, files = [], []
    for name in (shard["shard"] for shard in packed.details["shards"]):
        path = work / f"shards{encoder}" / f"{name}.h5"
        run_record = path.with_suffix(".json")
        runs.append(read_provenance(run_record, "embed"))
        if runs[-1].inputs.get("manifest") != packed.outputs[f"{name}.json"]:
            raise UserError(f"{path}: made from another manifest; delete it and run the embed stage again")
        inputs[path.name] = checked_input(path, run_record, "embed")
        files.append(EmbeddingFile(path))
        files[-1].description.check_same(description, path, "what was packed")
        if files[-1].has_residues != files[0].has_residues:
            raise UserError(
                f"{path} and {files[0].path}: one has embeddings of residues, the other has not; delete the older"
                " and run again"
            )

    proteins = read_proteins(prepared, "protein", "residues")
    if encoder == PROTEINS:
        inputs[SCREENED] = checked_input(work / SCREENED, pack_record, "pack")
        proteins = proteins[~proteins["protein"].isin(read_screened(work).index)]
    gathered = GatheredPieces(proteins["protein"].tolist(), proteins["residues"].to_numpy(), description, files)
    gathered.share(read_table(duplicates, "protein", "same_as"), work)
    gathered.check_complete(prepared)
    residues = gathered.pieces.residues if files[0].has_residues else None
    begin_writing(record, [output])
    with new_embedding_file(output, gathered.ids, description, residues) as merged:
        write_blocks(merged["embedding"], gathered.means())
        if residues is not None:
            write_blocks(merged["residue_embedding"], gathered.residues())
    details = _details(read_provenance(prepare_record, "prepare"), description, runs)
    details |= {name: packed.details[name] for name in ("architecture", "screened")}
    write_provenance(record, "merge", {}, inputs, [output], details, key)
    kept = {file.path.stem for file in files}
    for path in files[0].path.parent.glob("[0-9]*"):  # surplus shards of an earlier packing
        if path.stem not in kept:
            path.unlink()
    logger.info("merge: %s: %d embeddings from %d shards", output, len(gathered.ids), len(files))


def _details(prepared: Provenance, description: EmbeddingDescription, runs: Sequence[Provenance]) -> dict[str, Any]:
    """Return input, settings, devices and versions of a sample's embeddings, for people.

    The workflow passes its settings and its command line in the environment.
    """
    ran = [run.details for run in runs]
    return {
        "input": {"path": prepared.details["fasta"], "sha256": prepared.inputs["fasta"]},
        "embedding": description.as_json(),
        "settings": json.loads(os.environ.get("VIRNUCPRO_SETTINGS", "{}")),
        "devices": sorted({run["device"] for run in ran}),
        "attention": sorted({run["attention"] for run in ran}),
        "seconds": round(sum(run["seconds"] for run in ran), 3),  # avoids an infinite rate
        "versions": {"virnucpro": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "command": os.environ.get("VIRNUCPRO_COMMAND"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
