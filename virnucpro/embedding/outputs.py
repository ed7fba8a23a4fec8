"""Files of proteins' embeddings: HDF5, NumPy's .npz and Parquet."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from virnucpro.data.arrays import Rows
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.files import atomic_path
from virnucpro.embedding.proteins import pool_proteins
from virnucpro.embedding.store import Store
from virnucpro.embedding.work import Work
from virnucpro.errors import UserError

ENDINGS = (".h5", ".npz", ".parquet")


def check_output(output: Path, per_residue: bool, layout: str) -> None:
    """Raise a UserError if an output has an unknown ending, or one of a format that cannot hold what is asked."""
    if output.suffix not in ENDINGS:
        raise UserError(f"{output}: the name must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if layout != "table" and output.suffix != ".h5":
        raise UserError(f"{output}: layout {layout} is one of .h5 files")
    if output.suffix == ".parquet":
        if per_residue:
            raise UserError(f"{output}: residues go into a .h5 or .npz file")
        try:
            import pyarrow  # noqa: F401
        except ModuleNotFoundError:
            raise UserError(f"{output}: Parquet needs pyarrow: pip install pyarrow") from None


def write_output(output: Path, layout: str, description: EmbeddingDescription, work: Work, store: Store) -> None:
    """Write the embeddings of all proteins.

    Args:
        output: the file; its ending says the format.
        layout: of an HDF5 file: `table`, a dataset with a row a protein; or `proteins`, a dataset a protein.
        description: of the embeddings.
        work: with the proteins and their pieces.
        store: with the embeddings of these.
    """
    if output.suffix == ".parquet":
        _write_parquet(output, description, work.ids, pool_proteins(work, store))
    elif output.suffix == ".npz":
        _write_npz(output, description, work, store)
    elif layout == "proteins":
        _write_proteins(output, description, work, store)
    else:
        _write_table(output, description, work, store)


def residues_of(pieces: Sequence[int], store: Store) -> Rows:
    """Return the embeddings of a protein's residues, float32 [residues, *row_shape]."""
    assert store.residues is not None  # noqa: S101 (for the type checker)
    return np.concatenate([store.residues[slice(*store.start[piece : piece + 2])] for piece in pieces])


def _write_table(output: Path, description: EmbeddingDescription, work: Work, store: Store) -> None:
    counts = _residue_counts(work) if store.residues is not None else None
    with new_embedding_file(output, work.ids, description, counts) as file:
        file["embedding"][...] = pool_proteins(work, store)
        if counts is not None:
            starts = file["residue_start"][:]
            for row, pieces in enumerate(work.pieces_of):
                file["residue_embedding"][starts[row] : starts[row + 1]] = residues_of(pieces, store)


def _write_proteins(output: Path, description: EmbeddingDescription, work: Work, store: Store) -> None:
    means = pool_proteins(work, store)
    with atomic_path(output) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["description"] = json.dumps(description.as_json())
        for row, name in enumerate(work.ids):
            values = means[row] if store.residues is None else residues_of(work.pieces_of[row], store)
            try:
                file.create_dataset(name, data=values)
            except ValueError:
                raise UserError(
                    f"{name}: HDF5 takes / for the border of a folder, and that is another protein"
                ) from None


def _write_npz(output: Path, description: EmbeddingDescription, work: Work, store: Store) -> None:
    arrays: dict[str, Any] = {
        "ids": np.array(work.ids, np.str_),
        "embeddings": pool_proteins(work, store),
        "description": np.array(json.dumps(description.as_json())),
    }
    if store.residues is not None:
        arrays["residue_start"] = np.cumsum([0, *_residue_counts(work)], dtype=np.int64)
        arrays["residue_embeddings"] = np.concatenate([residues_of(pieces, store) for pieces in work.pieces_of])
    with atomic_path(output) as temporary:
        np.savez(temporary, **arrays)


def _write_parquet(output: Path, description: EmbeddingDescription, ids: list[str], embeddings: Rows) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    of_layers = embeddings.reshape(len(ids), len(description.layers), description.embed_dim)
    names = ["embedding"] if len(description.layers) == 1 else [f"layer_{layer}" for layer in description.layers]
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(of_layers[:, number].ravel()), description.embed_dim)
        for number in range(len(names))
    ]
    table = pa.table([pa.array(ids, pa.string()), *columns], ["id", *names])
    table = table.replace_schema_metadata({"description": json.dumps(description.as_json())})
    with atomic_path(output) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def _residue_counts(work: Work) -> list[int]:
    counted = work.counted
    return [int(counted[pieces].sum()) for pieces in work.pieces_of]
