"""Inputs of a classifier: embeddings of proteins, and of the nucleotides of frames if it uses both."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.data.arrays import Rows
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
        inputs: SHA-256 of these files, by their names.
        description, nucleotides: Settings of the embeddings of proteins and of nucleotides, or None.

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
        for file in self.files:
            if file.ids != proteins:
                raise UserError(f"{file.path}: not the embeddings of this sample's proteins; run the merge stage again")
        self.description: EmbeddingDescription = self.files[0].description
        self.nucleotides: EmbeddingDescription | None = self.files[1].description if with_nucleotides else None

    def rows(self, numbers: npt.NDArray[np.integer]) -> Rows:
        """Return the features of the proteins with these numbers, float32 [numbers, inputs].

        Embeddings of nucleotides come first, as in the original VirNucPro. Several layers are side by side.
        """
        files = reversed(self.files)
        return np.column_stack([file.rows(numbers).reshape(len(numbers), file.width) for file in files])
