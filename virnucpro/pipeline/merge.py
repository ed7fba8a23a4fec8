"""merge: the embeddings of all shards of a sample, in the order of its input."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.embeddings import Attributes, EmbeddingFile, write_embeddings
from virnucpro.data.fasta import read_fasta
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

BLOCK_BYTES = 64_000_000


def merge(frames: Path, duplicates: Path, shards: Sequence[Path], output: Path) -> None:
    """Write one file with an embedding for every protein of a sample, in input order.

    Args:
        frames: FASTA of the proteins.
        duplicates: the table that pack wrote.
        shards: the files that embed wrote, in any order.
        output: the HDF5 file.

    Raises:
        UserError: an id is missing, there twice or not finite, or the shards come from different models.
    """
    ids = [name for name, _ in read_fasta(frames, may_be_empty=True)]
    row = {name: number for number, name in enumerate(ids)}
    files = [EmbeddingFile(path) for path in shards]
    for file in files[1:]:
        if file.attributes != files[0].attributes or file.shape[1] != files[0].shape[1]:
            raise UserError(
                f"{file.path} and {files[0].path} do not come from the same model and settings: "
                f"{file.attributes} and {files[0].attributes}; delete the older and run again"
            )

    source_file = np.full(len(ids), -1, np.int32)
    source_row = np.zeros(len(ids), np.int64)
    for number, file in enumerate(files):
        targets = np.array([_row_of(row, name, file.path) for name in file.ids], np.int64)
        twice = targets[source_file[targets] >= 0]
        if len(twice):
            raise UserError(f"{file.path}: {ids[twice[0]]} is embedded in another shard too; delete both and run again")
        source_file[targets] = number
        source_row[targets] = np.arange(len(targets))
    table = pd.read_csv(duplicates, sep="\t", dtype=str, keep_default_na=False)
    for name, same_as in zip(table["id"], table["same_as"], strict=True):
        here, there = _row_of(row, name, duplicates), _row_of(row, same_as, duplicates)
        source_file[here], source_row[here] = source_file[there], source_row[there]
    missing = np.flatnonzero(source_file < 0)
    if len(missing):
        raise UserError(f"{frames}: {_some(ids, missing)} of {len(ids)} proteins have no embedding in any shard")

    attributes: Attributes = files[0].attributes if files else {}
    dimension = files[0].shape[1] if files else 0
    write_embeddings(output, ids, _blocks(files, source_file, source_row, ids), dimension, attributes)
    logger.info("merge: %s: %d embeddings of %d numbers from %d shards", output, len(ids), dimension, len(files))


def _row_of(row: dict[str, int], name: str, where: Path) -> int:
    if name not in row:
        raise UserError(f"{where}: {name} is no protein of this sample; delete the file and run again")
    return row[name]


def _blocks(
    files: Sequence[EmbeddingFile],
    source_file: npt.NDArray[np.int32],
    source_row: npt.NDArray[np.int64],
    ids: list[str],
) -> Iterator[npt.NDArray[np.float32]]:
    if not files:
        return
    dimension = files[0].shape[1]
    step = max(1, BLOCK_BYTES // (4 * dimension))
    for begin in range(0, len(source_file), step):
        of_file, of_row = source_file[begin : begin + step], source_row[begin : begin + step]
        block = np.empty((len(of_file), dimension), np.float32)
        for number in np.unique(of_file):
            here = of_file == number
            block[here] = files[number].rows(of_row[here])
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(bad):
            raise UserError(f"{_some(ids, begin + bad)} of {len(ids)} embeddings hold NaN or infinite numbers")
        yield block


def _some(ids: list[str], numbers: npt.NDArray[np.integer]) -> str:
    """Return how many ids are meant, and the first three of them."""
    named = ", ".join(ids[number] for number in numbers[:3])
    return f"{len(numbers)} ({named}{', ...' if len(numbers) > 3 else ''})"
