"""HDF5 files of embeddings. Attributes hold the settings that the embeddings were made with. Datasets:

- `id`: Ids of the proteins, text [sequences].
- `embedding`: Embeddings, float32 [sequences, embed_dim], or [sequences, layers, embed_dim] for several layers.
- `begin`: First embedded residue of each protein, from 0, int64 [sequences]. Only in the file of a shard.
- `residue_start`: First row of each sequence in the next dataset, int64 [sequences + 1]. Only for per-residue files.
- `residue_embedding`: Embeddings of residues, float32 [residues, ...], shaped like `embedding`.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virnucpro import __version__
from virnucpro.data.arrays import Integers, Rows
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError


@contextmanager
def new_embedding_file(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    description: EmbeddingDescription,
    residues: Sequence[int] | None = None,
    begins: Sequence[int] | None = None,
) -> Iterator[h5py.File]:
    """Yield an open file with ids and attributes, for the caller to write the rows; move it into place on success.

    Args:
        residues: Number of residues of every sequence; reserves room for per-residue embeddings.
        begins: First embedded residue of every sequence, for the file of a shard.
    """
    row_shape, layers = description.row_shape, description.layers
    start = np.cumsum([0, *(residues or ())], dtype=np.int64)
    least = 4 * (len(ids) + int(start[-1])) * int(np.prod(row_shape)) + sum(map(len, ids)) + 64 * len(ids) + 16_384
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    with atomic_path(path) as temporary:
        # HDF5 crashes if the disk fills while it writes, so all space is reserved first, before hours of work.
        if shutil.disk_usage(temporary.parent).free < least:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        with h5py.File(temporary, "w") as file:
            # The whole description as JSON, and its main fields for people.
            file.attrs.update(
                model=description.encoder,
                model_sha256=description.encoder_sha256,
                layer=layers[0] if len(layers) == 1 else ",".join(map(str, layers)),
                pooling=description.pooling,
                precision=description.precision,
                max_sequence_length=description.max_sequence_length,
                description=json.dumps(description.as_json()),
                virnucpro_version=__version__,
            )
            file.create_dataset("id", data=np.array(ids, dtype=object), dtype=h5py.string_dtype())
            file.create_dataset("embedding", (len(ids), *row_shape), np.float32, dcpl=early)
            if begins is not None:
                file.create_dataset("begin", data=np.array(begins, np.int64))
            if residues is not None:
                file.create_dataset("residue_start", data=start)
                file.create_dataset("residue_embedding", (int(start[-1]), *row_shape), np.float32, dcpl=early)
            file.flush()
            with temporary.open("rb+") as raw:
                os.posix_fallocate(raw.fileno(), 0, file.id.get_filesize())
            yield file


def write_blocks(dataset: h5py.Dataset, blocks: Iterable[Rows]) -> None:
    """Write blocks of rows to a dataset, one after another."""
    written = 0
    for block in blocks:
        dataset[written : written + len(block)] = block
        written += len(block)


class EmbeddingFile:
    """An embedding file for reading: `ids`, `begins`, `description`, `has_residues`, and rows by number.

    Raises:
        UserError: The file is missing or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with h5py.File(self.path, "r") as file:
                embedding = file["embedding"]
                self.description = EmbeddingDescription.from_json(json.loads(file.attrs["description"]))
                self.row_shape = self.description.row_shape
                rows, self._offset = len(embedding), self._offset_of(embedding)
                for name, count in (("id", rows), ("begin", rows), ("residue_start", rows + 1)):
                    if name in file and file[name].shape != (count,):  # before it is read: a wrong size may be huge
                        raise ValueError(f"{file[name].size} {name}s for {rows} embeddings")
                self._check_lengths(file["id"])
                self.ids: list[str] = file["id"].asstr()[:].tolist()
                self.begins: Integers = np.asarray(file["begin"] if "begin" in file else np.zeros(rows), np.int64)
                self.has_residues = "residue_start" in file
                if self.has_residues:
                    self._residue_start: Integers = np.asarray(file["residue_start"], np.int64)
                    residues = file["residue_embedding"]
                    self._residue_offset = self._offset_of(residues)
                    if (np.diff(self._residue_start, prepend=0, append=len(residues)) < 0).any():
                        raise ValueError("residue_start does not fit residue_embedding")
        except FileNotFoundError:
            raise UserError(f"{path}: no such file of embeddings") from None
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno:  # no right, a lock, a lost file system: no damage
                raise UserError(f"{path}: cannot be read: {os.strerror(error.errno)}; run again later") from None
            raise UserError(f"{path}: not a whole file of embeddings ({error}); delete it and run again") from None

    @property
    def width(self) -> int:
        """Length of an embedding, over all layers."""
        return int(np.prod(self.row_shape))

    def rows(self, numbers: npt.NDArray[np.integer]) -> Rows:
        """Return the embeddings with these numbers, in this order, float32 [numbers, *row_shape]."""
        if not len(numbers):
            return np.empty((0, *self.row_shape), np.float32)
        return np.asarray(self._map(self._offset, len(self.ids))[numbers])

    def residues(self, number: int) -> Rows:
        """Return the per-residue embeddings of a sequence, float32 [residues, *row_shape]."""
        begin, end = self._residue_start[number : number + 2]
        return np.asarray(self._map(self._residue_offset, int(self._residue_start[-1]))[begin:end])

    def _offset_of(self, dataset: h5py.Dataset) -> int:
        """Return the first byte of a dataset's rows in the file; raise a ValueError if they cannot be mapped."""
        if dataset.shape[1:] != self.row_shape or dataset.dtype != np.float32:
            raise ValueError(f"rows of {dataset.dtype} {dataset.shape[1:]}, described as float32 {self.row_shape}")
        offset: int | None = dataset.id.get_offset()
        if dataset.size and (offset is None or offset + dataset.nbytes > self.path.stat().st_size):
            raise ValueError(f"{dataset.name} is not one whole block of the file")
        return offset or 0

    def _check_lengths(self, texts: h5py.Dataset) -> None:
        """Raise a ValueError if a text is said to be longer than the file: HDF5 would allocate this length."""
        if texts.size and texts.dtype.hasobject and (offset := texts.id.get_offset()) is not None:
            lengths = np.fromfile(self.path, "<u4", 4 * texts.size, offset=offset)[::4]  # length, address, number
            if lengths.max() > self.path.stat().st_size:
                raise ValueError(f"an id of {lengths.max():,} letters")

    def _map(self, offset: int, rows: int) -> np.memmap[Any, np.dtype[np.float32]]:
        # HDF5 needs seconds to select scattered rows. Each call maps the file again, to give up pages already read.
        return np.memmap(self.path, np.float32, "r", offset, (rows, *self.row_shape))
