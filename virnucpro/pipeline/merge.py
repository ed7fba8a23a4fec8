"""merge: the embeddings of all shards of a sample, in the order of its input."""

import logging
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro import __version__
from virnucpro.calling import CALL_FILES
from virnucpro.data.arrays import Rows
from virnucpro.data.description import NUCLEOTIDES, EmbeddingDescription
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file
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
from virnucpro.data.windows import overlapping_windows
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

BLOCK_BYTES = 64_000_000
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

    parts = _Parts(read_proteins(prepared, "protein", "residues"), description)
    parts.find(files)
    parts.share(read_table(duplicates, "protein", "same_as"), folder)
    parts.check_complete(prepared)
    residues = parts.residues(files) if files[0].has_residues else None
    begin_writing(records, "merge", [output])
    with new_embedding_file(output, parts.ids, description, residues) as merged:
        written = 0
        for block in parts.blocks(files):
            merged["embedding"][written : written + len(block)] = block
            written += len(block)
        if residues is not None:
            _copy_residues(parts, files, merged["residue_embedding"])
    details = _details(read_provenance(sample / RECORDS, "prepare"), description, runs, settings or {})
    write_provenance(records, "merge", {}, inputs, [output], details)
    _delete_other_calls(sample, output)
    logger.info("merge: %s: %d embeddings from %d shards", output, len(parts.ids), len(files))


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


class _Parts:
    """What was embedded for the proteins of a sample, in their order: each protein itself, or the windows over it.

    Arrays with a row a part: `file` and `row` say where its embedding is, `weight` how many residues of a window count.
    `start` [proteins + 1] says where each protein's parts start, and `begin` how many residues lie before a part.
    """

    def __init__(self, proteins: pd.DataFrame, description: EmbeddingDescription) -> None:
        self.ids: list[str] = proteins["protein"].tolist()
        longest = description.max_sequence_length
        windows = description.long_proteins == "windows"
        counts, begins, weights = [], [], []
        for residues in proteins["residues"].tolist():
            over = overlapping_windows(residues, longest) if windows and residues > longest else []
            counts.append(len(over) or 1)
            begins += [window.begin for window in over] or [0]
            weights += [window.pool_end - window.pool_begin for window in over] or [1]
        self.start = np.cumsum([0, *counts])
        self.begin = np.array(begins, np.int64)
        self.weight = np.array(weights, np.float32)
        self.number = {name: number for number, name in enumerate(self.ids)}
        self.file = np.full(len(begins), -1, np.int32)
        self.row = np.zeros(len(begins), np.int64)

    def find(self, files: Sequence[EmbeddingFile]) -> None:
        """Note where each part is."""
        for number, file in enumerate(files):
            parts = self._parts(file.ids, file.begins.tolist(), file.path)
            order = np.argsort(parts, kind="stable")
            twice = parts[order][1:][np.diff(parts[order]) == 0]
            if len(twice):
                raise UserError(f"{file.path}: {self._some(twice)} embedded twice in it; delete it and run again")
            twice = parts[self.file[parts] >= 0]
            if len(twice):
                raise UserError(
                    f"{file.path}: {self._some(twice)} embedded in another shard too; delete both and run again"
                )
            self.file[parts] = number
            self.row[parts] = np.arange(len(parts))

    def share(self, duplicates: pd.DataFrame, where: Path) -> None:
        """Give every duplicate the place of what it is a duplicate of."""
        here = self._parts(duplicates["protein"].tolist(), duplicates["begin"].tolist(), where)
        there = self._parts(duplicates["same_as"].tolist(), duplicates["same_as_begin"].tolist(), where)
        self.file[here], self.row[here] = self.file[there], self.row[there]

    def check_complete(self, prepared: Path) -> None:
        """Raise a UserError if a part was never embedded."""
        missing = np.flatnonzero(self.file < 0)
        if len(missing):
            raise UserError(f"{prepared}: {self._some(missing)} of {len(self.file)} have no embedding in any shard")

    def blocks(self, files: Sequence[EmbeddingFile]) -> Iterator[Rows]:
        """Yield the embeddings of the proteins in order, float32 [proteins, *row_shape], some at a time."""
        step = max(1, BLOCK_BYTES // (4 * int(np.prod(files[0].row_shape))))
        for begin in range(0, len(self.ids), step):
            start = self.start[begin : begin + step + 1]
            of_file, of_row = self.file[start[0] : start[-1]], self.row[start[0] : start[-1]]
            block = np.empty((len(of_file), *files[0].row_shape), np.float32)
            for number in np.unique(of_file):
                here = of_file == number
                block[here] = files[number].rows(of_row[here])
            bad = np.flatnonzero(~np.isfinite(block.reshape(len(block), -1)).all(axis=1))
            if len(bad):
                raise UserError(f"{self._some(start[0] + bad)} of {len(self.file)} embeddings hold NaN or infinity")
            yield self._average(block, start) if len(block) > len(start) - 1 else block

    def residues(self, files: Sequence[EmbeddingFile]) -> list[int]:
        """Return how many residues of each protein were embedded."""
        count = np.zeros(len(self.file), np.int64)
        for number, file in enumerate(files):
            here = self.file == number
            count[here] = file.residue_counts[self.row[here]]
        total: list[int] = np.add.reduceat(count, self.start[:-1]).tolist() if self.ids else []
        return total

    def _average(self, block: Rows, start: npt.NDArray[np.int64]) -> Rows:
        """Return the means over the residues that count of all windows over each protein."""
        weight = self.weight[start[0] : start[-1]].reshape(-1, *[1] * (block.ndim - 1))
        first = start[:-1] - start[0]
        mean = np.add.reduceat(block * weight, first) / np.add.reduceat(weight, first)
        return mean.astype(np.float32, copy=False)

    def _parts(self, ids: Sequence[str], begins: Sequence[int], where: Path) -> npt.NDArray[np.int64]:
        """Return the numbers of parts, int64 [ids], from their proteins and the residues before them."""
        numbers = np.empty(len(ids), np.int64)
        for place, (name, begin) in enumerate(zip(ids, begins, strict=True)):
            protein = self.number.get(name, -1)
            part = self.start[protein]
            if begin and protein >= 0:
                part += np.searchsorted(self.begin[part : self.start[protein + 1]], begin)
            if protein < 0 or part == self.start[protein + 1] or self.begin[part] != begin:
                raise UserError(f"{where}: {name} from residue {begin} on is nothing that was packed; run pack again")
            numbers[place] = part
        return numbers

    def _some(self, parts: npt.NDArray[np.integer]) -> str:
        """Return how many parts are meant, and the names of the first three."""
        proteins = np.searchsorted(self.start, parts[:3], side="right") - 1
        named = ", ".join(self.ids[number] for number in proteins)
        return f"{len(parts)} ({named}{', ...' if len(parts) > 3 else ''})"


def _copy_residues(parts: _Parts, files: Sequence[EmbeddingFile], target: h5py.Dataset) -> None:
    written = 0
    for number, row in zip(parts.file.tolist(), parts.row.tolist(), strict=True):
        residues = files[number].residues(row)
        target[written : written + len(residues)] = residues
        written += len(residues)
