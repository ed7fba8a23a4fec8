"""From a FASTA file of proteins to a file of their embeddings: HDF5, or NumPy's .npz."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.files import atomic_path
from virnucpro.embedding.engine import choose_engine, open_store, run_engine
from virnucpro.embedding.progress import Progress
from virnucpro.embedding.proteins import read_sequences
from virnucpro.embedding.store import Store, kept_beside
from virnucpro.embedding.work import Work, plan_work
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)


def embed_file(
    fasta: Path,
    output: Path,
    model: str,
    layers: Sequence[int],
    per_residue: bool,
    device: str,
    precision: str,
    token_budget: int | None,
    max_sequence_length: int,
    long_proteins: str,
) -> None:
    """Write the embeddings of the proteins of a file, on all GPUs or else the CPU; resume an interrupted run.

    Args:
        fasta: proteins, plain or compressed.
        output: the file to write; its ending, .h5 or .npz, is the format.
        model: name of an ESM-2 or path of a checkpoint.
        layers: numbers of the layers wanted; negative ones count from the end.
        per_residue: whether to write every residue's embedding beside the mean.
        device: auto, gpu or cpu.
        precision: auto, float32, bfloat16 or float16.
        token_budget: tokens of a bin, or None for what suits the device.
        max_sequence_length: residues that the model takes at once.
        long_proteins: how longer ones are embedded, `cut` or `windows`.

    Raises:
        UserError: the file or the model cannot be read, or the output has another ending.
    """
    if output.suffix not in (".h5", ".npz"):
        raise UserError(f"{output}: the name must end in .h5 or .npz")
    ids, sequences = read_sequences(fasta)
    engine = choose_engine(
        model, layers, per_residue, device, precision, token_budget, max_sequence_length, long_proteins
    )
    work = plan_work(ids, sequences, engine.token_budget, max_sequence_length, long_proteins)
    with kept_beside(output, f"{engine.description.digest} {per_residue} {work.digest}") as folder:
        _, done = open_store(engine, work, folder)
        left = [rows for group, is_done in zip(work.groups, done, strict=True) if not is_done for rows in group]
        progress = Progress(str(output), len(left), sum(map(work.tokens, left)), for_person=True)
        with progress.bar:
            store = run_engine(engine, work, folder, progress.advance)
        write = _write_npz if output.suffix == ".npz" else _write_hdf5
        write(output, engine.description, work, store)
    logger.info("%s: the embeddings of %d proteins", output, len(ids))


def _write_hdf5(output: Path, description: EmbeddingDescription, work: Work, store: Store) -> None:
    counts = None if store.residues is None else work.residue_counts
    with new_embedding_file(output, work.ids, description, counts) as file:
        file["embedding"][...] = work.means(store)
        if counts is not None:
            starts = file["residue_start"][:]
            for protein in range(len(work.ids)):
                file["residue_embedding"][starts[protein] : starts[protein + 1]] = work.residues(store, protein)


def _write_npz(output: Path, description: EmbeddingDescription, work: Work, store: Store) -> None:
    arrays: dict[str, Any] = {
        "ids": np.array(work.ids, np.str_),
        "embeddings": work.means(store),
        "description": np.array(json.dumps(description.as_json())),
    }
    if store.residues is not None:
        arrays["residue_start"] = np.cumsum([0, *work.residue_counts], dtype=np.int64)
        residues = [work.residues(store, protein) for protein in range(len(work.ids))]
        arrays["residue_embeddings"] = np.concatenate([store.residues[:0], *residues])
    with atomic_path(output) as temporary:
        np.savez(temporary, **arrays)
