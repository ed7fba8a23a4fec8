"""Files of embeddings, HDF5: a few datasets, and attributes that say what made them.

id                text [sequences]
embedding         float32 [sequences, embed_dim], or [sequences, layers, embed_dim] where several layers were asked for
residue_start     int64 [sequences + 1], only with per-residue embeddings: where each sequence's rows start in
residue_embedding float32 [residues, ...], shaped like `embedding`
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virnucpro import __version__
from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError

Attributes = Mapping[str, str | int]
Rows = npt.NDArray[np.float32]


def layer_numbers(layers: Sequence[int], last: int) -> list[int]:
    """Return layers' numbers from 0, the model's input, to `last`, where negative ones count from the end.

    Raises:
        UserError: the model has no such layer.
    """
    for number in layers:
        if not -last - 1 <= number <= last:
            raise UserError(f"layers: no layer {number}, only 0 (its input) to {last} in this model")
    return [number % (last + 1) for number in layers]


def describe_embeddings(
    model: Mapping[str, Any], layers: Sequence[int], precision: str, max_sequence_length: int
) -> Attributes:
    """Return the attributes that say what made embeddings.

    Args:
        model: its name and sha256.
        layers: numbers of the layers, from 0.
        precision: of the weights.
        max_sequence_length: residues that the model took at once.
    """
    return {
        "model": model["name"],
        "model_sha256": model["sha256"],
        "layer": layers[0] if len(layers) == 1 else ",".join(map(str, layers)),
        "pooling": "mean",
        "precision": precision,
        "max_sequence_length": max_sequence_length,
        "virnucpro_version": __version__,
    }


def row_shape_of(layers: Sequence[int], embed_dim: int) -> tuple[int, ...]:
    """Return the shape of a row: [embed_dim], or [layers, embed_dim] for several layers."""
    return (embed_dim,) if len(layers) == 1 else (len(layers), embed_dim)


@contextmanager
def new_embedding_file(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    row_shape: tuple[int, ...],
    attributes: Attributes,
    residues: Sequence[int] | None = None,
) -> Iterator[h5py.File]:
    """Yield an open file with ids and attributes, whose rows are to be written; it is put in place if all goes well.

    Args:
        path: the file.
        ids: id of every row.
        row_shape: shape of one row of `embedding`.
        attributes: model, model_sha256, layers, precision and the like.
        residues: of every sequence, for per-residue embeddings.
    """
    rows = len(ids) + sum(residues or ())
    least = 4 * rows * int(np.prod(row_shape)) + sum(map(len, ids)) + 64 * len(ids) + 16_384
    with atomic_path(path) as temporary:
        # HDF5 crashes where the disk fills while it writes, so all the room is taken before: also before hours of work.
        if shutil.disk_usage(temporary.parent).free < least:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        with h5py.File(temporary, "w") as file:
            _fill_in(file, ids, row_shape, attributes, residues)
            file.flush()
            with temporary.open("rb+") as raw:
                os.posix_fallocate(raw.fileno(), 0, file.id.get_filesize())
            yield file


def _fill_in(
    file: h5py.File,
    ids: Sequence[str],
    row_shape: tuple[int, ...],
    attributes: Attributes,
    residues: Sequence[int] | None,
) -> None:
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    file.attrs.update(attributes)
    file.create_dataset("id", data=np.array(ids, dtype=object), dtype=h5py.string_dtype())
    file.create_dataset("embedding", (len(ids), *row_shape), np.float32, dcpl=early)
    if residues is not None:
        start = np.cumsum([0, *residues], dtype=np.int64)
        file.create_dataset("residue_start", data=start)
        file.create_dataset("residue_embedding", (int(start[-1]), *row_shape), np.float32, dcpl=early)


class EmbeddingFile:
    """An embedding file for reading: `ids`, `attributes`, `row_shape`, `has_residues`, and rows by number.

    Raises:
        UserError: the file is missing or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with h5py.File(self.path, "r") as file:
                embedding = file["embedding"]
                self.ids: list[str] = file["id"].asstr()[:].tolist()
                self.attributes: dict[str, str | int] = {
                    key: value if isinstance(value, str) else int(value) for key, value in file.attrs.items()
                }
                self.row_shape: tuple[int, ...] = embedding.shape[1:]
                rows, self._offset = len(embedding), embedding.id.get_offset()
                self.has_residues = "residue_start" in file
                if self.has_residues:
                    self._residue_start: npt.NDArray[np.int64] = file["residue_start"][:]
                    self._residue_offset = file["residue_embedding"].id.get_offset()
        except FileNotFoundError:
            raise UserError(f"{path}: no such file of embeddings") from None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not a whole file of embeddings ({error}); delete it and run again") from None
        if len(self.ids) != rows:
            raise UserError(f"{path}: {len(self.ids)} ids for {rows} embeddings; delete it and run again")

    def rows(self, numbers: npt.NDArray[np.integer]) -> Rows:
        """Return the embeddings with these numbers, in this order, float32 [numbers, *row_shape]."""
        if not len(numbers):
            return np.empty((0, *self.row_shape), np.float32)
        return np.asarray(self._map(self._offset, len(self.ids))[numbers])

    def residues(self, number: int) -> Rows:
        """Return the per-residue embeddings of a sequence, float32 [residues, *row_shape]."""
        begin, end = self._residue_start[number : number + 2]
        return np.asarray(self._map(self._residue_offset, int(self._residue_start[-1]))[begin:end])

    @property
    def residue_counts(self) -> npt.NDArray[np.int64]:
        """How many residues of each sequence have embeddings, int64 [sequences]."""
        return np.diff(self._residue_start)

    def _map(self, offset: int, rows: int) -> np.memmap[Any, np.dtype[np.float32]]:
        # HDF5's own selection of scattered rows takes seconds. Mapped anew each time, since pages once touched count.
        return np.memmap(self.path, np.float32, "r", offset, (rows, *self.row_shape))
