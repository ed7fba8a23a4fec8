"""Storage of embeddings until all are complete: in memory, or in files that survive a kill."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from virnucpro.data.arrays import Integers, Rows
from virnucpro.data.files import lock_file
from virnucpro.encoders.runner import AsyncInferenceRunner
from virnucpro.errors import UserError


class Store(NamedTuple):
    """Embeddings of sequences; several processes may fill it."""

    means: Rows  # float32 [sequences, *row_shape]
    residues: Any  # pooled residues, float32 [residues, *row_shape], an array or an HDF5 dataset; or None
    start: Integers  # first residue of each sequence, and the number of residues, int64 [sequences + 1]

    def fill(
        self,
        runner: AsyncInferenceRunner,
        bins: Sequence[Integers],
        sequence: Callable[[int], Mapping[str, Any]],
    ) -> Iterator[Integers]:
        """Embed bins of rows, and yield each bin when it is done; `sequence` returns a row's input to the collator."""
        embedded_bins = runner.run([sequence(int(row)) for row in rows] for rows in bins)
        for rows, embedded in zip(bins, embedded_bins, strict=True):
            self.means[rows] = embedded.embeddings
            if embedded.residues is not None:
                taken = 0
                for row in rows:
                    begin, end = self.start[row : row + 2]
                    self.residues[begin:end] = embedded.residues[taken : taken + end - begin]
                    taken += end - begin
            yield rows

    def flush(self) -> None:
        """Write arrays that are in files to disk."""
        for array in (self.means, self.residues):
            if isinstance(array, np.memmap):
                array.flush()


def array_in(folder: Path | None, name: str, dtype: type, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return an array in a file of a folder, or in memory without a folder; a new array has zeros."""
    if folder is None or not np.prod(shape):
        return np.zeros(shape, dtype)
    path = folder / name
    if not path.exists():
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, "r+", shape=shape)


@contextmanager
def kept_beside(output: Path, digest: str) -> Iterator[Path]:
    """Yield a folder beside an output for unfinished embeddings, and remove it at the end.

    An interrupted run with the same digest leaves its embeddings there; others are deleted.

    Raises:
        UserError: Another process is writing the same output.
    """
    folder = output.parent / f".{output.name}.begun"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock_file(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(f"{output}: another process is writing it; wait for it, or name another file") from None
    try:
        begun = folder / "work"
        if not begun.exists() or begun.read_text() != digest:
            for old in folder.iterdir():
                old.unlink()
            begun.write_text(digest)
        yield folder
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)
