"""merge: the embeddings of all shards of a sample, in the order of its input."""

import json
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
from virnucpro.data.embeddings import (
    Attributes,
    EmbeddingFile,
    Rows,
    describe_embeddings,
    layer_numbers,
    new_embedding_file,
    row_shape_of,
)
from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import remove_leftovers, write_text
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

BLOCK_BYTES = 64_000_000
PACKAGES = ("torch", "numpy", "biopython", "h5py")


def merge(sample: Path, token_budget: Path, shards: Sequence[Path], output: Path, settings: Mapping[str, Any]) -> None:
    """Write one file with an embedding for every protein of a sample, in input order, and its provenance beside it.

    Args:
        sample: the sample's folder, with what prepare and pack wrote.
        token_budget: JSON that the token-budget stage wrote, with the model and its precision.
        shards: the files that embed wrote, in any order.
        output: the HDF5 file; the provenance is called like it, ending in .provenance.json.
        settings: the configuration: for the provenance, and for what an empty sample's file should look like.

    Raises:
        UserError: an id is missing, there twice or not finite, or the shards come from different models.
    """
    remove_leftovers(output)
    proteins = sample / "prepared" / "proteins.faa"
    ids = [name for name, _ in read_fasta(proteins, may_be_empty=True)]
    probed = json.loads(token_budget.read_text())
    model = probed["model"]
    files = [EmbeddingFile(path) for path in shards]
    _check_source(files, model["sha256"])
    parts = _Parts(ids, read_table(sample / "windows.tsv", "id", "protein"))
    parts.find(files)
    parts.share(read_table(sample / "duplicates.tsv", "id", "same_as"), sample / "duplicates.tsv")
    parts.check_complete(proteins)

    if files:
        attributes: Attributes = files[0].attributes
        row_shape = files[0].row_shape
        residues = parts.residues(files) if files[0].has_residues else None
    else:
        layers = layer_numbers(settings.get("layers", [-1]), model["layers"])
        attributes = describe_embeddings(model, layers, probed["precision"], settings.get("max_sequence_length", 1022))
        row_shape = row_shape_of(layers, model["embed_dim"])
        residues = [] if settings.get("per_residue") else None
    with new_embedding_file(output, ids, row_shape, attributes, residues) as merged:
        written = 0
        for block in parts.blocks(files):
            merged["embedding"][written : written + len(block)] = block
            written += len(block)
        if residues is not None:
            _copy_residues(parts, files, merged["residue_embedding"])
    runs = [json.loads(path.with_suffix(".json").read_text()) for path in shards]
    provenance = _provenance(json.loads((sample / "prepared" / "input.json").read_text()), model, runs, settings)
    write_text(output.with_suffix(".provenance.json"), json.dumps(provenance, indent=1) + "\n")
    logger.info("merge: %s: %d embeddings from %d shards", output, len(ids), len(files))


def _check_source(files: Sequence[EmbeddingFile], model_sha256: str) -> None:
    for file in files:
        if file.attributes.get("model_sha256") != model_sha256:
            raise UserError(f"{file.path} was made by another model, {file.attributes}; delete it and run again")
        if (file.attributes, file.row_shape) != (files[0].attributes, files[0].row_shape):
            raise UserError(
                f"{file.path} and {files[0].path} do not come from the same settings: "
                f"{file.attributes} and {files[0].attributes}; delete the older and run again"
            )


def _provenance(
    source: Mapping[str, Any], model: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a sample's result was made from, with what and how."""
    return {
        "input": source,
        "model": model,
        "settings": settings,
        "devices": sorted({run["device"] for run in runs}),
        "attention": sorted({run["attention"] for run in runs}),
        "seconds": round(sum(run["seconds"] for run in runs), 1),
        "versions": {"virnucpro": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "command": os.environ.get("VIRNUCPRO_COMMAND"),  # how the workflow was started, which a stage cannot see
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class _Parts:
    """What was embedded for the proteins of a sample, in their order: each protein itself, or the windows over it.

    Arrays with a row a part: `file` and `row` say where its embedding is, `weight` how many residues of a window count.
    `start` [proteins + 1] says where each protein's parts start.
    """

    def __init__(self, ids: list[str], windows: pd.DataFrame) -> None:
        self.names = ids
        self.start = np.arange(len(ids) + 1)
        self.weight = np.ones(len(ids), np.float32)
        if len(windows):
            of_protein = {name: rows for name, rows in windows.groupby("protein", sort=False)}
            parts = [of_protein[name]["id"].tolist() if name in of_protein else [name] for name in ids]
            residues = dict(zip(windows["id"], windows["residues"].astype(int), strict=True))
            self.names = [part for of_one in parts for part in of_one]
            self.start = np.cumsum([0, *map(len, parts)])
            self.weight = np.array([residues.get(part, 1) for part in self.names], np.float32)
        self.number = {name: number for number, name in enumerate(self.names)}
        self.file = np.full(len(self.names), -1, np.int32)
        self.row = np.zeros(len(self.names), np.int64)

    def find(self, files: Sequence[EmbeddingFile]) -> None:
        """Note where each part is."""
        for number, file in enumerate(files):
            parts = np.array([self._number(name, file.path) for name in file.ids], np.int64)
            twice = parts[self.file[parts] >= 0]
            if len(twice):
                name = self.names[twice[0]]
                raise UserError(f"{file.path}: {name} is embedded in another shard too; delete both and run again")
            self.file[parts] = number
            self.row[parts] = np.arange(len(parts))

    def share(self, duplicates: pd.DataFrame, path: Path) -> None:
        """Give every duplicate the place of what it is a duplicate of."""
        for name, same_as in zip(duplicates["id"], duplicates["same_as"], strict=True):
            here, there = self._number(name, path), self._number(same_as, path)
            self.file[here], self.row[here] = self.file[there], self.row[there]

    def check_complete(self, fasta: Path) -> None:
        """Raise a UserError if a part was never embedded."""
        missing = np.flatnonzero(self.file < 0)
        if len(missing):
            raise UserError(f"{fasta}: {self._some(missing)} of {len(self.names)} have no embedding in any shard")

    def blocks(self, files: Sequence[EmbeddingFile]) -> Iterator[Rows]:
        """Yield the embeddings of the proteins in order, float32 [proteins, *row_shape], some at a time."""
        proteins = len(self.start) - 1
        step = max(1, BLOCK_BYTES // (4 * int(np.prod(files[0].row_shape)))) if files else 1
        for begin in range(0, proteins, step):
            start = self.start[begin : begin + step + 1]
            of_file, of_row = self.file[start[0] : start[-1]], self.row[start[0] : start[-1]]
            block = np.empty((len(of_file), *files[0].row_shape), np.float32)
            for number in np.unique(of_file):
                here = of_file == number
                block[here] = files[number].rows(of_row[here])
            bad = np.flatnonzero(~np.isfinite(block.reshape(len(block), -1)).all(axis=1))
            if len(bad):
                raise UserError(f"{self._some(start[0] + bad)} of {len(self.names)} embeddings hold NaN or infinity")
            yield self._average(block, start) if len(block) > len(start) - 1 else block

    def residues(self, files: Sequence[EmbeddingFile]) -> list[int]:
        """Return how many residues of each protein were embedded."""
        count = np.zeros(len(self.names), np.int64)
        for number, file in enumerate(files):
            here = self.file == number
            count[here] = file.residue_counts[self.row[here]]
        total: list[int] = np.add.reduceat(count, self.start[:-1]).tolist()
        return total

    def _average(self, block: Rows, start: npt.NDArray[np.int64]) -> Rows:
        """Return the means over the residues that count of all windows over each protein."""
        weight = self.weight[start[0] : start[-1]].reshape(-1, *[1] * (block.ndim - 1))
        first = start[:-1] - start[0]
        mean = np.add.reduceat(block * weight, first) / np.add.reduceat(weight, first)
        return mean.astype(np.float32, copy=False)

    def _number(self, name: str, where: Path) -> int:
        if name not in self.number:
            raise UserError(f"{where}: {name} is no protein of this sample; delete the file and run again")
        return self.number[name]

    def _some(self, parts: npt.NDArray[np.integer]) -> str:
        """Return how many parts are meant, and the names of the first three."""
        named = ", ".join(self.names[number] for number in parts[:3])
        return f"{len(parts)} ({named}{', ...' if len(parts) > 3 else ''})"


def _copy_residues(parts: _Parts, files: Sequence[EmbeddingFile], target: h5py.Dataset) -> None:
    written = 0
    for number, row in zip(parts.file.tolist(), parts.row.tolist(), strict=True):
        residues = files[number].residues(row)
        target[written : written + len(residues)] = residues
        written += len(residues)
