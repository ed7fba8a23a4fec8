"""Inputs of a classifier: embeddings of proteins, and of the nucleotides of frames if it uses both."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.calling.screen import SCREENED, read_screened
from virnucpro.data.arrays import Floats, Mask, Rows
from virnucpro.data.description import NUCLEOTIDES, PROTEINS, EmbeddingDescription
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.provenance import checked_input
from virnucpro.errors import UserError


class Features:
    """The embeddings of a sample's proteins, in the files that merge wrote.

    Args:
        folder: Folder with the sample's results.
        work: Folder with the records of merge.
        proteins: Ids of the proteins, in their order.

    Attributes:
        files: Embeddings of the proteins, then of the nucleotides if requested.
        inputs: SHA-256 of these files and of the screen's table, by their names.
        description, nucleotides: Settings of the embeddings of proteins and of nucleotides, or None.
        by_screen: Log-odds of proteins by the screen, NaN for embedded proteins, float64 [proteins].
        embedded: Mask of the embedded proteins, bool [proteins].

    Raises:
        UserError: A file is missing, or belongs to other proteins.
    """

    def __init__(self, folder: Path, work: Path, proteins: list[str], with_nucleotides: bool) -> None:
        encoders = [PROTEINS, NUCLEOTIDES] if with_nucleotides else [PROTEINS]
        paths = [folder / f"embeddings{encoder}.h5" for encoder in encoders]
        self.inputs = {
            path.name: checked_input(path, work / f"merge{encoder}.json", "merge")
            for path, encoder in zip(paths, encoders, strict=True)
        }
        self.files = [EmbeddingFile(path) for path in paths]
        self.inputs[SCREENED] = checked_input(work / SCREENED, work / "pack.json", "pack")
        self.by_screen: Floats = np.asarray(read_screened(work).reindex(proteins), np.float64)
        self.embedded: Mask = np.isnan(self.by_screen)
        self._row = np.cumsum(self.embedded) - 1
        embedded = [name for name, is_embedded in zip(proteins, self.embedded, strict=True) if is_embedded]
        for file in self.files:
            if file.ids != embedded:
                raise UserError(f"{file.path}: not the embeddings of this sample's proteins; run the merge stage again")
        self.description: EmbeddingDescription = self.files[0].description
        self.nucleotides: EmbeddingDescription | None = self.files[1].description if with_nucleotides else None

    def rows(self, numbers: npt.NDArray[np.integer]) -> Rows:
        """Return the features of embedded proteins with these numbers, float32 [numbers, inputs].

        Embeddings of nucleotides come first, as in the original VirNucPro. Several layers are side by side.
        """
        return np.column_stack([self._rows_of(file, numbers) for file in reversed(self.files)])

    def embeddings(self, numbers: npt.NDArray[np.integer]) -> Rows:
        """Return the embeddings of proteins alone, layers side by side, float32 [numbers, layers x embed_dim]."""
        return self._rows_of(self.files[0], numbers)

    def _rows_of(self, file: EmbeddingFile, numbers: npt.NDArray[np.integer]) -> Rows:
        return file.rows(self._row[numbers]).reshape(len(numbers), file.width)
