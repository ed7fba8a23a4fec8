"""Pieces of proteins that fit the model, and bins of pieces."""

import hashlib
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.arrays import Integers, Mask, Rows
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.manifest import PackedSequence, WindowOf
from virnucpro.data.packing import SPECIAL_TOKENS, first_fit_decreasing, warn_truncated
from virnucpro.errors import UserError

BLOCK_BYTES = 64_000_000


class Window(NamedTuple):
    """Residues `begin` to `end` of a protein; `pool_begin` to `pool_end` are pooled. Half-open, from 0."""

    begin: int
    end: int
    pool_begin: int
    pool_end: int


def overlapping_windows(length: int, size: int) -> list[Window]:
    """Return windows of `size` residues that overlap by a quarter or more and end with the protein.

    Each residue is pooled from one window only: the one in which it is farther from an end. The border between two
    windows is the middle of their overlap.

    Args:
        size: Residues of a window.

    Examples:
        Windows 0 to 10 and 6 to 16 overlap by 4 residues, whose middle is 8.

        >>> [tuple(window) for window in overlapping_windows(length=16, size=10)]
        [(0, 10, 0, 8), (6, 16, 8, 16)]
    """
    step = size - size // 4
    count = 1 + -(-(length - size) // step)
    begins = [(length - size) * number // (count - 1) for number in range(count)]
    borders = [(begin + size + following) // 2 for begin, following in pairwise(begins)]
    pools = zip([0, *borders], [*borders, length], strict=True)
    return [Window(begin, begin + size, *pool) for begin, pool in zip(begins, pools, strict=True)]


class Pieces(NamedTuple):
    """Pieces of proteins, in the order of the proteins: whole proteins, N-terminal parts, or windows."""

    start: Integers  # first piece of each protein, and the number of pieces, int64 [proteins + 1]
    protein: Integers  # number of each piece's protein, int64 [pieces]
    spans: Integers  # the fields of a `Window` of each piece, int64 [pieces, 4]
    windows: Mask  # whether a piece is a window, bool [pieces]
    truncated: Mask  # whether a piece is the N-terminal part of a longer protein, bool [pieces]

    @property
    def begin(self) -> Integers:
        """First residue of each piece, from 0."""
        return self.spans[:, 0]

    @property
    def length(self) -> Integers:
        """Number of residues of each piece."""
        return self.spans[:, 1] - self.spans[:, 0]

    @property
    def pooled(self) -> Integers:
        """Number of pooled residues of each piece."""
        return self.spans[:, 3] - self.spans[:, 2]

    @property
    def residues(self) -> list[int]:
        """Number of pooled residues of each protein."""
        counts: list[int] = np.diff(np.cumsum([0, *self.pooled])[self.start]).tolist()
        return counts


def cut_proteins(
    ids: Sequence[str], residues: Integers, description: EmbeddingDescription, warn: bool = True
) -> Pieces:
    """Return the pieces of proteins from their numbers of residues, int64 [proteins]; log truncated proteins.

    The description has the longest sequence that the model takes, and the treatment of longer proteins.
    """
    longest, long_proteins = description.max_sequence_length, description.long_proteins
    is_long = (residues > longest) & (long_proteins != "whole")
    as_windows = is_long & (long_proteins == "windows")
    windows = [overlapping_windows(length, longest) for length in residues[as_windows].tolist()]
    count = np.ones(len(residues), np.int64)
    count[as_windows] = [len(of_one) for of_one in windows]
    protein = np.repeat(np.arange(len(residues)), count)
    ends = np.where(is_long, longest, residues)[protein]
    spans = np.column_stack([np.zeros_like(ends), ends, np.zeros_like(ends), ends])
    spans[as_windows[protein]] = np.array([window for of_one in windows for window in of_one]).reshape(-1, 4)
    start = np.concatenate([[0], np.cumsum(count)])
    for number in np.flatnonzero(is_long & ~as_windows & warn).tolist():
        warn_truncated(ids[number], int(residues[number]), longest)
    return Pieces(start, protein, spans, as_windows[protein], (is_long & ~as_windows)[protein])


def digest_pieces(pieces: Pieces, letters: Callable[[int], bytes]) -> tuple[npt.NDArray[np.uint8], Integers]:
    """Return the SHA-256 of each piece's letters, uint8 [pieces, 32], and the first equal piece, int64 [pieces].

    A truncated protein never equals a whole one. Windows are equal only if the same residues are pooled. `letters`
    returns the letters of a piece by its number.
    """
    digests, keys = bytearray(), bytearray()
    pools = (pieces.spans[:, 2:] - pieces.begin[:, None]).tolist()
    special = zip(pools, pieces.windows.tolist(), pieces.truncated.tolist(), strict=True)
    for number, (pool, window, cut) in enumerate(special):
        digest = hashlib.sha256(letters(number)).digest()
        digests += digest
        keys += hashlib.sha256(b"%b %d %d %d" % (digest, *pool, cut)).digest() if window or cut else digest
    _, first, group = np.unique(np.frombuffer(bytes(keys), "S32"), return_index=True, return_inverse=True)
    return np.frombuffer(bytes(digests), np.uint8).reshape(-1, 32), first[group]


def pack_bins(tokens: Integers, budget: int, name: Callable[[int], str]) -> list[Integers]:
    """Pack sequences into bins by first-fit decreasing; return the numbers of the sequences of each bin.

    The tokens are int64 [sequences]; ties are packed in the order given. `name` returns the id of a sequence, for error
    messages.

    Raises:
        UserError: A sequence does not fit a bin.
    """
    if tokens.max(initial=0) > budget:
        raise UserError(
            f"token_budget {budget} is smaller than sequence {name(int(tokens.argmax()))} with its {tokens.max()} "
            "tokens; raise token_budget or lower max_sequence_length"
        )
    bin_of = first_fit_decreasing(tokens, budget)
    by_bin = np.lexsort((-tokens, bin_of))
    return np.split(by_bin, np.flatnonzero(np.diff(bin_of[by_bin])) + 1) if len(tokens) else []


def mean_of_pieces(
    pieces: Pieces, rows: Callable[[slice], Rows], row_bytes: int, dtype: npt.DTypeLike = np.float32
) -> Iterator[Rows]:
    """Yield the embeddings of proteins in order, float32 [proteins, *row_shape], a block of proteins at a time.

    The embedding of a protein in windows is the mean over windows, weighted by their pooled residues and computed in
    `dtype`. `rows` returns the embeddings of a slice of pieces, each of `row_bytes`.
    """
    step = max(1, BLOCK_BYTES // row_bytes)
    for begin in range(0, len(pieces.start) - 1, step):
        start = pieces.start[begin : begin + step + 1]
        here = slice(int(start[0]), int(start[-1]))
        block = rows(here)
        if pieces.windows[here].any():
            weight = np.where(pieces.windows[here], pieces.pooled[here], 1).astype(dtype)
            weight = weight.reshape(-1, *[1] * (block.ndim - 1))
            first = start[:-1] - start[0]
            block = (np.add.reduceat(block * weight, first) / np.add.reduceat(weight, first)).astype(np.float32)
        yield block


class PackableSequences:
    """Sequences that a stage packs: pieces of proteins, or nucleotides of frames, in the order of the input.

    Attributes:
        offsets: Byte of the file at which each piece begins, int64 [pieces].
        tokens: Number of tokens of each piece, including special tokens, int64 [pieces].
        digests: SHA-256 of the letters of each piece, uint8 [pieces, 32].
        original: First piece with the same embedding, int64 [pieces].
    """

    def __init__(
        self, table: pd.DataFrame, fasta: Path, description: EmbeddingDescription, tokens: Integers | None
    ) -> None:
        self.ids: list[str] = table["protein"].tolist()
        residues, starts = (table[name].to_numpy(np.int64) for name in ("residues", "offset"))
        self.pieces = cut_proteins(self.ids, residues, description)
        self.offsets = starts[self.pieces.protein] + self.pieces.begin
        self.of_letters = tokens is None
        self.tokens = self.pieces.length + SPECIAL_TOKENS if tokens is None else tokens
        spans = np.column_stack([self.offsets, self.offsets + self.pieces.length])
        with ExitStack() as stack:
            file = stack.enter_context(fasta.open("rb"))
            mapped = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if self.ids else b""
            self.digests, self.original = digest_pieces(self.pieces, lambda number: mapped[slice(*spans[number])])

    def place(self, index: int) -> tuple[str, int]:
        """Return the id of a piece's protein, and the first residue of the piece."""
        return self.ids[self.pieces.protein[index]], int(self.pieces.begin[index])

    def packed(self, index: int) -> PackedSequence:
        """Return a piece as an entry of a manifest."""
        name, _ = self.place(index)
        sequence = PackedSequence(
            id=name,
            offset=int(self.offsets[index]),
            length=int(self.pieces.length[index]),
            sha256=self.digests[index].tobytes().hex(),
            truncated=bool(self.pieces.truncated[index]),
        )
        if not self.of_letters:
            sequence["tokens"] = int(self.tokens[index])
        if self.pieces.windows[index]:
            begin, _, pool_begin, pool_end = self.pieces.spans[index].tolist()
            sequence["window"] = WindowOf(begin=begin, pool_begin=pool_begin, pool_end=pool_end)
        return sequence
