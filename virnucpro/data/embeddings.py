"""Files of embeddings: HDF5 with `id` (text), `embedding` (float32) and attributes that say where they come from."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError

Attributes = Mapping[str, str | int]


def write_embeddings(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    blocks: Iterable[npt.NDArray[np.float32]],
    dimension: int,
    attributes: Attributes,
) -> None:
    """Write embeddings atomically.

    Args:
        path: the file.
        ids: id of every row.
        blocks: the rows in that order, float32 [any, dimension] each; not all in memory at once.
        dimension: numbers a row.
        attributes: model, model_sha256, layer, precision and the like.

    Raises:
        ValueError: there are not as many rows as ids.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(attributes)
        file.create_dataset("id", data=np.array(ids, dtype=object), dtype=h5py.string_dtype())
        rows = file.create_dataset("embedding", (len(ids), dimension), np.float32)
        written = 0
        for block in blocks:
            rows[written : written + len(block)] = block
            written += len(block)
        if written != len(ids):
            raise ValueError(f"{path}: {written} rows for {len(ids)} ids")


class EmbeddingFile:
    """An embedding file open for reading: `ids`, `attributes`, and rows by number.

    Raises:
        UserError: the file is missing or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with h5py.File(self.path, "r") as file:
                self.ids: list[str] = file["id"].asstr()[:].tolist()
                self.attributes: dict[str, str | int] = {
                    key: value if isinstance(value, str) else int(value) for key, value in file.attrs.items()
                }
                self.shape: tuple[int, int] = file["embedding"].shape
                self._offset = file["embedding"].id.get_offset()
        except FileNotFoundError:
            raise UserError(f"{path}: no such file of embeddings") from None
        except (OSError, KeyError) as error:
            raise UserError(f"{path}: not a whole file of embeddings ({error}); delete it and run again") from None
        if len(self.ids) != self.shape[0]:
            raise UserError(f"{path}: {len(self.ids)} ids for {self.shape[0]} embeddings; delete it and run again")

    def rows(self, numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return the rows with these numbers, in this order, float32 [numbers, dimension]."""
        if not len(numbers):
            return np.empty((0, self.shape[1]), np.float32)
        # HDF5's own selection of scattered rows takes seconds. Mapped anew each time, since pages once touched count.
        mapped = np.memmap(self.path, np.float32, "r", self._offset, self.shape)
        return np.asarray(mapped[numbers])
