"""What is to be embedded: proteins as pieces that run through the model, in bins."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from virnucpro.data.packing import first_fit_decreasing, warn_truncated
from virnucpro.data.windows import overlapping_windows
from virnucpro.errors import UserError

BINS = 8  # of a group, which is embedded again as a whole where a run is interrupted


class Piece(NamedTuple):
    """Residues that run through the model as one sequence, and the half-open span of them that counts."""

    sequence: str
    begin: int
    end: int


@dataclass(frozen=True)
class Work:
    """Proteins to be embedded.

    Attributes:
        ids: of the proteins.
        pieces: what runs through the model; equal ones are there once.
        tokens: of each piece, int64 [pieces].
        pieces_of: numbers of each protein's pieces, in their order along it.
        groups: of bins of numbers of pieces.
    """

    ids: list[str]
    pieces: list[Piece]
    tokens: npt.NDArray[np.int64]
    pieces_of: list[list[int]]
    groups: list[list[list[int]]]

    @property
    def counted(self) -> npt.NDArray[np.int64]:
        """Residues of each piece that count, int64 [pieces]."""
        return np.array([piece.end - piece.begin for piece in self.pieces], np.int64)

    @property
    def tokens_of_groups(self) -> list[int]:
        """Tokens of each group."""
        return [sum(int(self.tokens[pieces].sum()) for pieces in bins) for bins in self.groups]

    @property
    def digest(self) -> str:
        """SHA-256 of all that is to be embedded, and in which bins, in hex."""
        digest = hashlib.sha256()
        for part in (self.ids, self.pieces, self.pieces_of, self.groups):
            for item in part:
                digest.update(repr(item).encode())
        return digest.hexdigest()


def plan_work(
    ids: Sequence[str],
    sequences: Sequence[str],
    token_budget: int,
    special_tokens: int,
    max_sequence_length: int,
    long_proteins: str,
) -> Work:
    """Return the work on proteins, packed into bins by first-fit decreasing.

    Args:
        ids: of the proteins.
        sequences: their residues, none empty.
        token_budget: tokens that a bin may hold.
        special_tokens: that a sequence has beside those of its residues.
        max_sequence_length: residues that the model takes at once.
        long_proteins: what becomes of longer ones: `cut` to the N-terminal part, or `windows` that overlap.

    Raises:
        UserError: a piece is longer than the budget.
    """
    numbers: dict[Piece, int] = {}
    pieces_of = []
    for name, sequence in zip(ids, sequences, strict=True):
        pieces = _pieces(name, sequence, max_sequence_length, long_proteins)
        pieces_of.append([numbers.setdefault(piece, len(numbers)) for piece in pieces])
    pieces = list(numbers)
    tokens = np.array([len(piece.sequence) + special_tokens for piece in pieces], np.int64)
    if tokens.max(initial=0) > token_budget:
        raise UserError(
            f"token_budget {token_budget} is smaller than a sequence of {tokens.max()} tokens; raise it or lower "
            "max_sequence_length"
        )
    bin_of = first_fit_decreasing(tokens, token_budget)
    by_bin = np.lexsort((-tokens, bin_of))
    ends = np.flatnonzero(np.diff(bin_of[by_bin])) + 1
    bins = [members.tolist() for members in np.split(by_bin, ends)] if len(pieces) else []
    groups = [bins[begin : begin + BINS] for begin in range(0, len(bins), BINS)]
    return Work(list(ids), pieces, tokens, pieces_of, groups)


def _pieces(name: str, sequence: str, longest: int, long_proteins: str) -> list[Piece]:
    if len(sequence) <= longest:
        return [Piece(sequence, 0, len(sequence))]
    if long_proteins == "windows":
        return [
            Piece(sequence[window.begin : window.end], window.pool_begin - window.begin, window.pool_end - window.begin)
            for window in overlapping_windows(len(sequence), longest)
        ]
    warn_truncated(name, len(sequence), longest)
    return [Piece(sequence[:longest], 0, longest)]
