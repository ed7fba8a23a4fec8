"""Embeddings of a sample's pieces, gathered from the files of its shards."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.arrays import Integers, Rows
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.embedding.pieces import cut_proteins, mean_of_pieces
from virnucpro.errors import UserError


class GatheredPieces:
    """Location of the embedding of each piece of a sample's proteins: `file` and `row`, int [pieces].

    Ids and `residues`, int64 [proteins], are of all proteins of the sample in order; files are of all shards.

    Raises:
        UserError: A file holds a piece that was not packed, or that another file holds too.
    """

    def __init__(
        self, ids: list[str], residues: Integers, description: EmbeddingDescription, files: Sequence[EmbeddingFile]
    ) -> None:
        self.ids, self.files = ids, files
        self.pieces = cut_proteins(ids, residues, description, warn=False)
        self.number = {name: number for number, name in enumerate(ids)}
        self.file = np.full(len(self.pieces.protein), -1, np.int32)
        self.row = np.zeros(len(self.file), np.int64)
        for number, file in enumerate(files):
            pieces = self._numbers(file.ids, file.begins.tolist(), file.path)
            order = np.argsort(pieces, kind="stable")
            twice = pieces[order][1:][np.diff(pieces[order]) == 0]
            if len(twice):
                raise UserError(f"{file.path}: {self._some(twice)} embedded twice in it; delete it and run again")
            twice = pieces[self.file[pieces] >= 0]
            if len(twice):
                raise UserError(
                    f"{file.path}: {self._some(twice)} embedded in another shard too; delete both and run again"
                )
            self.file[pieces] = number
            self.row[pieces] = np.arange(len(pieces))

    def share(self, duplicates: pd.DataFrame, where: Path) -> None:
        """Give every duplicate the embedding of the piece that it equals."""
        here = self._numbers(duplicates["protein"].tolist(), duplicates["begin"].tolist(), where)
        there = self._numbers(duplicates["same_as"].tolist(), duplicates["same_as_begin"].tolist(), where)
        self.file[here], self.row[here] = self.file[there], self.row[there]

    def check_complete(self, prepared: Path) -> None:
        """Raise a UserError if a piece was never embedded."""
        missing = np.flatnonzero(self.file < 0)
        if len(missing):
            raise UserError(f"{prepared}: {self._some(missing)} of {len(self.file)} have no embedding in any shard")

    def means(self) -> Iterator[Rows]:
        """Yield the embeddings of the proteins in order, float32 [proteins, *row_shape], a block at a time."""
        return mean_of_pieces(self.pieces, self._rows, 4 * self.files[0].width)

    def residues(self) -> Iterator[Rows]:
        """Yield the embeddings of the residues of each piece, float32 [residues, *row_shape]."""
        return (
            self.files[number].residues(row) for number, row in zip(self.file.tolist(), self.row.tolist(), strict=True)
        )

    def _rows(self, here: slice) -> Rows:
        of_file, of_row = self.file[here], self.row[here]
        rows = np.empty((len(of_file), *self.files[0].row_shape), np.float32)
        for number in np.unique(of_file).tolist():
            rows[of_file == number] = self.files[number].rows(of_row[of_file == number])
        bad = np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))
        if len(bad):
            raise UserError(f"{self._some(here.start + bad)} of {len(self.file)} embeddings hold NaN or infinity")
        return rows

    def _numbers(self, ids: Sequence[str], begins: Sequence[int], where: Path) -> Integers:
        """Return the numbers of pieces, int64 [ids], from the ids of their proteins and their first residues."""
        start, begin_of = self.pieces.start, self.pieces.begin
        numbers = np.empty(len(ids), np.int64)
        for place, (name, begin) in enumerate(zip(ids, begins, strict=True)):
            protein = self.number.get(name, -1)
            piece = start[protein]
            if begin and protein >= 0:
                piece += np.searchsorted(begin_of[piece : start[protein + 1]], begin)
            if protein < 0 or piece == start[protein + 1] or begin_of[piece] != begin:
                raise UserError(f"{where}: {name} from residue {begin} on was not packed; run pack again")
            numbers[place] = piece
        return numbers

    def _some(self, pieces: npt.NDArray[np.integer]) -> str:
        """Return the number of pieces and the proteins of the first three, for error messages."""
        named = ", ".join(self.ids[number] for number in self.pieces.protein[pieces[:3]])
        return f"{len(pieces)} ({named}{', ...' if len(pieces) > 3 else ''})"
