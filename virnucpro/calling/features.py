"""What a classifier sees of proteins: their embeddings, after those of frames' nucleotides where it takes both."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from virnucpro.data.arrays import Rows
from virnucpro.data.description import NUCLEOTIDES, EmbeddingDescription
from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.provenance import RECORDS, FileState, checked_input
from virnucpro.errors import UserError


class Features:
    """The embeddings of a sample's proteins, in the files that merge wrote.

    Attributes:
        files: embeddings of the proteins, then of the nucleotides if requested.
        inputs: states of these files, by their paths from the sample's folder.
        description, nucleotides: settings of the embeddings of proteins and of nucleotides, or None.

    Args:
        folder: the sample's.
        proteins: ids of its proteins, in their order.
        with_nucleotides: whether to read the embeddings of nucleotides as well.

    Raises:
        UserError: a file is missing, or not of these proteins.
    """

    def __init__(self, folder: Path, proteins: list[str], with_nucleotides: bool) -> None:
        names = ["embeddings.h5"] + ([f"{NUCLEOTIDES}/embeddings.h5"] if with_nucleotides else [])
        self.inputs: dict[str, FileState] = {
            name: checked_input(folder / name, (folder / name).with_name(RECORDS), "merge") for name in names
        }
        self.files = [EmbeddingFile(folder / name) for name in names]
        for file in self.files:
            if file.ids != proteins:
                raise UserError(f"{file.path}: not the embeddings of this sample's proteins; run the merge stage again")
        self.description: EmbeddingDescription = self.files[0].description
        self.nucleotides: EmbeddingDescription | None = self.files[1].description if with_nucleotides else None

    def rows(self, numbers: npt.NDArray[np.integer]) -> Rows:
        """Return the features of the proteins with these numbers, float32 [numbers, inputs].

        The nucleotides' come first, as in the original VirNucPro; several layers lie side by side.
        """
        files = reversed(self.files)
        return np.column_stack([file.rows(numbers).reshape(len(numbers), file.width) for file in files])
