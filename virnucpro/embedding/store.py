"""Where the embeddings of pieces are kept until all are there: in memory, or in files that outlive a kill."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from virnucpro.data.arrays import Rows
from virnucpro.embedding.work import Work
from virnucpro.errors import UserError


class Store:
    """Embeddings of pieces, which several processes may fill.

    Attributes:
        means: float32 [pieces, *row_shape].
        residues: of all residues that count, float32 [residues, *row_shape], or None.
        start: where each piece's residues start, int64 [pieces + 1].
        done: which groups are there, bool [groups].
    """

    def __init__(self, work: Work, row_shape: tuple[int, ...], per_residue: bool, folder: Path | None = None) -> None:
        """Open the files in a folder, made where they are missing; or take memory, without a folder."""
        self.start = np.cumsum([0, *work.counted], dtype=np.int64)
        self._folder = folder
        self.means: Rows = self._array("means", np.float32, (len(work.pieces), *row_shape))
        self.residues: Rows | None = None
        if per_residue:
            self.residues = self._array("residues", np.float32, (int(self.start[-1]), *row_shape))
        self.done: npt.NDArray[np.bool_] = self._array("done", np.bool_, (len(work.groups),))

    def write(self, pieces: list[int], means: Rows, residues: Rows | None) -> None:
        """Take in the embeddings of a bin's pieces, and of their residues, which lie end to end."""
        self.means[pieces] = means
        if self.residues is not None and residues is not None:
            taken = 0
            for piece in pieces:
                begin, end = self.start[piece : piece + 2]
                self.residues[begin:end] = residues[taken : taken + end - begin]
                taken += end - begin

    def finish(self, group: int) -> None:
        """Note that all bins of a group are there, once they are on the disk."""
        for array in (self.means, self.residues):
            if isinstance(array, np.memmap):
                array.flush()
        self.done[group] = True

    def _array(self, name: str, dtype: type, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        if self._folder is None or not np.prod(shape):
            return np.zeros(shape, dtype)
        path = self._folder / name
        if not path.exists():
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.memmap(path, dtype, "r+", shape=shape)


@contextmanager
def kept_beside(output: Path, digest: str) -> Iterator[Path]:
    """Yield a folder beside an output for embeddings, with those left there of the same work; remove it at last.

    Args:
        output: the file to be.
        digest: of the work.

    Raises:
        UserError: another process is at the same output.
    """
    folder = output.parent / f".{output.name}.begun"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
