"""Proteins in memory as work for an encoder: distinct pieces, packed into bins."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from virnucpro.data.arrays import Integers, Rows
from virnucpro.data.description import EmbeddingDescription
from virnucpro.embedding.pieces import Pieces, cut_proteins, digest_pieces, mean_of_pieces, pack_bins
from virnucpro.embedding.store import Store
from virnucpro.encoders.alphabet import ESM2Tokenizer
from virnucpro.errors import UserError


class Work(NamedTuple):
    """Proteins for embedding; equal pieces share one row of the embeddings. Rows are in the order of their bins."""

    ids: list[str]
    sequences: list[str]
    pieces: Pieces
    rows: Integers  # row of each piece's embedding, int64 [pieces]
    piece: Integers  # first piece of each row, int64 [rows]
    bins: Integers  # first row of each bin, and number of rows, int64 [bins + 1]

    @property
    def digest(self) -> str:
        """SHA-256 of the proteins and their bins, in hex."""
        digest = hashlib.sha256()
        for text in (*self.ids, *self.sequences, self.piece.tolist(), self.bins.tolist()):
            digest.update(f"{text}\n".encode())
        return digest.hexdigest()

    def tokens(self, number: int) -> int:
        """Return the number of tokens of a bin."""
        begin, end = self.bins[number : number + 2]
        return int((self.pieces.length[self.piece[begin:end]] + ESM2Tokenizer.special_tokens).sum())

    def sequence(self, row: int) -> dict[str, Any]:
        """Return the sequence of a row, as input of the collator."""
        number = self.piece[row]
        begin, end, pool_begin, pool_end = self.pieces.spans[number].tolist()
        letters = self.sequences[self.pieces.protein[number]][begin:end]
        return {"id": str(row), "sequence": letters, "pool": (pool_begin - begin, pool_end - begin)}

    def means(self, store: Store) -> Rows:
        """Return the means over the residues of each protein, float32 [proteins, *row_shape]."""
        row_bytes = 4 * int(np.prod(store.means.shape[1:]))
        blocks = mean_of_pieces(self.pieces, lambda here: store.means[self.rows[here]], row_bytes, np.float64)
        return np.concatenate([store.means[:0], *blocks])

    def residues(self, store: Store) -> Iterator[Rows]:
        """Yield the embeddings of the residues of each piece, float32 [residues, *row_shape]."""
        return map(store.residues_of, self.rows)


def plan_work(
    ids: Sequence[str], sequences: Sequence[str], token_budget: int, description: EmbeddingDescription
) -> Work:
    """Return the work on proteins, packed into bins by first-fit decreasing.

    Raises:
        UserError: A sequence is empty, or a piece does not fit a bin.
    """
    for name, sequence in zip(ids, sequences, strict=True):
        if not sequence:
            raise UserError(f"{name}: no residues; leave it out")
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    pieces = cut_proteins(ids, lengths, description)

    def letters(number: int) -> bytes:
        begin, end = pieces.spans[number, :2].tolist()
        sequence: str = sequences[pieces.protein[number]]
        return sequence[begin:end].encode()

    piece, rows = np.unique(digest_pieces(pieces, letters)[1], return_inverse=True)
    tokens = pieces.length[piece] + ESM2Tokenizer.special_tokens
    bins = pack_bins(tokens, token_budget, lambda row: ids[pieces.protein[piece[row]]])
    order = np.concatenate([np.empty(0, np.int64), *bins])
    ends = np.cumsum([0, *map(len, bins)], dtype=np.int64)
    return Work(list(ids), list(sequences), pieces, np.argsort(order)[rows], piece[order], ends)
