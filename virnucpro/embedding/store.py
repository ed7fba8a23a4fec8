"""Storage of embeddings until all bins are done: in memory, or in a file that survives a kill."""

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from virnucpro.data.arrays import Integers, Rows
from virnucpro.data.files import lock_file
from virnucpro.encoders.runner import AsyncInferenceRunner
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

# Head of the file, one per bin: SHA-256 of the work, the bin's number and its values; seconds that the bin took.
_DONE = np.dtype([("digest", "V32"), ("seconds", np.float64)])


class Store:
    """Embeddings of the sequences of all bins, in the order of the bins; several processes may fill one file.

    A bin is done when the digest of its values is in the file. Values of other work, values of a write that was
    interrupted and values that were changed have another digest: they are embedded again.

    Args:
        bins: First sequence of each bin, and number of sequences, int64 [bins + 1].
        row_shape: Shape of an embedding.
        pooled: Number of pooled residues of each sequence, int64 [sequences]; None if only the means are wanted.
        path: File from `kept_beside`; None keeps all in memory.
        work: Text that differs if anything differs that the values depend on.

    Attributes:
        means: float32 [sequences, *row_shape].
        residues: float32 [residues, *row_shape], one sequence after another.
        start: First residue of each sequence, and number of residues, int64 [sequences + 1].
    """

    def __init__(
        self,
        bins: Integers,
        row_shape: Sequence[int],
        pooled: Integers | None = None,
        path: Path | None = None,
        work: str = "",
    ) -> None:
        counts = np.zeros(bins[-1], np.int64) if pooled is None else pooled
        self.bins, self.start, self._work = bins, np.concatenate([[0], np.cumsum(counts)]), work
        row_bytes = 4 * int(np.prod(row_shape))
        sizes = [_DONE.itemsize * (len(bins) - 1), row_bytes * int(bins[-1]), row_bytes * int(self.start[-1])]
        done, means, residues = np.split(_array(path, sum(sizes)), np.cumsum(sizes)[:2])
        self._done = done.view(_DONE)
        self.means: Rows = means.view(np.float32).reshape(-1, *row_shape)
        self.residues: Rows = residues.view(np.float32).reshape(-1, *row_shape)

    def missing(self) -> list[int]:
        """Return the numbers of the bins that are not done."""
        digests = [done.tobytes() for done in self._done["digest"]]
        return [number for number, done in enumerate(digests) if not any(done) or done != self._digest(number)]

    def fill(
        self, runner: AsyncInferenceRunner, bins: Sequence[int], sequence: Callable[[int], Mapping[str, Any]]
    ) -> Iterator[int]:
        """Embed bins, and yield the number of each when it is done; `sequence` returns an input of the collator."""
        began = time.monotonic()
        embedded_bins = runner.run([sequence(row) for row in range(*self.bins[n : n + 2])] for n in bins)
        for number, embedded in zip(bins, embedded_bins, strict=True):
            means, residues = self._values(number)
            means[...] = embedded.embeddings
            if embedded.residues is not None:
                residues[...] = embedded.residues
            now = time.monotonic()
            self._done[number] = (np.void(self._digest(number)), now - began)
            began = now
            yield number

    def residues_of(self, row: int) -> Rows:
        """Return the embeddings of the residues of a sequence, float32 [residues, *row_shape]."""
        return self.residues[self.start[row] : self.start[row + 1]]

    @property
    def seconds(self) -> float:
        """Seconds that all bins took, over all attempts."""
        return float(self._done["seconds"].sum())

    def _values(self, number: int) -> tuple[Rows, Rows]:
        """Return the means and the residues of a bin."""
        begin, end = self.bins[number : number + 2]
        return self.means[begin:end], self.residues[self.start[begin] : self.start[end]]

    def _digest(self, number: int) -> bytes:
        digest = hashlib.sha256(f"{self._work} {number}\n".encode())
        for values in self._values(number):
            digest.update(values.data)
        return digest.digest()


def _array(path: Path | None, size: int) -> npt.NDArray[np.uint8]:
    """Return bytes in a file, or in memory without a path; a file of another size is filled with zeros.

    Space is reserved at once: a disk that fills would otherwise kill the process that writes, hours later.
    """
    if path is None or not size:
        return np.zeros(size, np.uint8)
    if path.stat().st_size != size:
        with path.open("r+b") as file:
            file.truncate(0)
            if shutil.disk_usage(path.parent).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(path, np.uint8, "r+", shape=(size,))


@contextmanager
def kept_beside(output: Path, wait: bool = False) -> Iterator[Path]:
    """Yield a file for the embeddings of an output, locked; remove it at the end, unless it ends with an error.

    Args:
        wait: Whether to wait for another process that is writing the same output.

    Raises:
        UserError: Another process is writing the same output, and `wait` is false.
    """
    path = output.with_name(f"{output.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, output, wait):
        yield path
        path.unlink()


def _locked(path: Path, output: Path, wait: bool) -> BinaryIO:
    """Return a file, open and locked until it is closed."""
    while True:
        file = path.open("ab")
        try:
            lock_file(file.fileno())
        except BlockingIOError:
            if not wait:
                file.close()
                raise UserError(f"{output}: another process is writing it; wait for it, or name another file") from None
            logger.warning("%s: another process is writing it; this one waits until it has ended", output)
            lock_file(file.fileno(), wait=True)
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()  # the process that held the lock has removed the file
