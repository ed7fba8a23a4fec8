"""embed: run the bins of one manifest through ESM-2, or through DNABERT-S."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from virnucpro import __version__
from virnucpro.data.collation import BatchShape, batch_shapes
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import new_embedding_file, write_blocks
from virnucpro.data.manifest import Manifest, PackedSequence, WindowOf, read_manifest, tokens_of
from virnucpro.data.provenance import begin_writing, checked_input, write_provenance
from virnucpro.embedding.progress import Progress
from virnucpro.embedding.store import Store, kept_beside
from virnucpro.encoders.checkpoint import Encoder, load_encoder
from virnucpro.encoders.devices import DTYPES, describe_device, lease_device
from virnucpro.encoders.runner import MOST_SEQUENCES, AsyncInferenceRunner
from virnucpro.encoders.weights import find_weights
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

_NOTHING = {"device": "none", "attention": "none", "compiled": False, "bins": 0, "tokens": 0, "seconds": 0.0}


def embed(
    manifest_path: Path,
    proteins: Path,
    model: str,
    output: Path,
    per_residue: bool = False,
    device: str = "auto",
    threads: int | None = None,
    compiled: bool = False,
    progress: bool | Callable[[int, int], None] = False,
) -> None:
    """Embed every sequence of a manifest: mean over the residues of proteins, or over all tokens of nucleotides.

    Writes `output`, HDF5 with one row per sequence in the order of `proteins`, and beside it a .json, the record with
    inputs, device and speed. A job that is killed leaves its finished bins in a file beside `output`. The next job for
    the same manifest and kind of device uses them, and removes the file.

    Args:
        proteins: proteins.faa or nucleotides.fna, with the letters of the manifest's sequences.
        per_residue: Whether to write embeddings of residues, too.
        threads: CPU threads; None lets torch choose.
        compiled: Whether to compile the model and capture its forward pass as a CUDA graph, if possible.
        progress: Whether to show a bar on a terminal; or a callback that gets the embedded tokens and all tokens.

    Raises:
        UserError: The manifest, the proteins and the weights do not belong together.
    """
    record, manifests = output.with_suffix(".json"), manifest_path.absolute().parent
    pack_record = manifests.with_name(f"pack{manifests.name.removeprefix('manifests')}.json")
    source = checked_input(manifest_path, pack_record, "pack")
    manifest = read_manifest(manifest_path)
    description = manifest["embedding"]
    packed = [sequence for a_bin in manifest["bins"] for sequence in a_bin["sequences"]]
    order = np.argsort([sequence["offset"] for sequence in packed], kind="stable")  # of the proteins
    packed = [packed[row] for row in order]
    sequences = _read_sequences(packed, proteins)
    residues = [end - begin for begin, end in (one["pool"] for one in sequences)] if per_residue else None
    ids = [sequence["id"] for sequence in packed]
    begins = [sequence["window"]["begin"] if "window" in sequence else 0 for sequence in packed]
    checkpoint = _find_checkpoint(model, manifest_path, description) if sequences else None
    with kept_beside(output, wait=True) as kept:  # the job of a Snakemake that was killed may still run
        begin_writing(record, [output])
        new_file = new_embedding_file(output, ids, description, residues, begins)
        if checkpoint:
            if threads:
                torch.set_num_threads(threads)
            with lease_device(device) as leased:
                encoder = load_encoder(checkpoint, leased, DTYPES[description.precision])
                shapes = _shapes_of_bins(manifest, encoder) if compiled else []
                runner = AsyncInferenceRunner(encoder, description.layers, per_residue, shapes)
                where = _describe(encoder, leased, manifest)
                logger.info("embed: %s %s on %s", manifest["sample"], manifest["shard"], where)
                with new_file as file:
                    bins = np.cumsum([0, *(len(a_bin["sequences"]) for a_bin in manifest["bins"])], dtype=np.int64)
                    place = np.argsort(order)  # of each row of the store among the proteins
                    pooled = np.array(residues, np.int64)[place] if per_residue else None
                    work = f"{__version__} {source} {leased.type} {runner.compiled}"
                    store = Store(bins, description.row_shape, pooled, kept, work)
                    _embed_missing(store, runner, manifest, lambda row: sequences[place[row]], progress)
                    file["embedding"][...] = store.means[order]
                    if per_residue:
                        write_blocks(file["residue_embedding"], map(store.residues_of, order))
                ran = {"device": describe_device(leased), "attention": encoder.attention_name}
            counts = {"bins": len(bins) - 1, "tokens": sum(a_bin["tokens"] for a_bin in manifest["bins"])}
            details = {**ran, "compiled": runner.compiled, **counts, "seconds": round(store.seconds, 3)}
        else:
            details = _NOTHING
            with new_file:
                pass
        write_provenance(record, "embed", {"per_residue": per_residue}, {"manifest": source}, [output], details)


def _find_checkpoint(model: str, manifest_path: Path, description: EmbeddingDescription) -> Path:
    weights = find_weights(model, description.is_of_nucleotides)
    if weights.sha256 != description.encoder_sha256:
        raise UserError(
            f"{weights.path}: SHA-256 {weights.sha256}, but {manifest_path} was packed for "
            f"{description.encoder_sha256}; run the workflow again to pack for these weights"
        )
    return weights.path


def _embed_missing(
    store: Store,
    runner: AsyncInferenceRunner,
    manifest: Manifest,
    sequence: Callable[[int], dict[str, Any]],
    show: bool | Callable[[int, int], None],
) -> None:
    """Embed the bins that are missing in a store, and log the progress."""
    tokens = np.array([a_bin["tokens"] for a_bin in manifest["bins"]])
    missing = store.missing()
    kept = int(tokens.sum() - tokens[missing].sum())
    name = f"{manifest['sample']} {manifest['shard']}"
    if kept:
        logger.info("embed: %s: %d of %d tokens are kept from an interrupted job", name, kept, tokens.sum())
    progress = Progress(name, int(tokens.sum()), kept, for_person=show is True)
    with progress.bar:
        for number in store.fill(runner, missing, sequence):
            progress.advance(int(tokens[number]))
            if callable(show):
                show(progress.done, progress.tokens)


def _shapes_of_bins(manifest: Manifest, model: Encoder) -> list[BatchShape]:
    """Return the shapes of a compiled model's batches; none, with a warning, if the model cannot be compiled."""
    if not model.capturable:
        logger.warning("compile needs a GPU of compute capability 8.0 and half precision: the model runs uncompiled")
        return []
    tokens = [list(map(tokens_of, a_bin["sequences"])) for a_bin in manifest["bins"]]
    shapes = batch_shapes(tokens, manifest["token_budget"])
    if (most := max(shape.sequences for shape in shapes)) > MOST_SEQUENCES:
        logger.warning("compile: bins of up to %d sequences, too many for one batch: uncompiled", most)
        return []
    return shapes


def _describe(model: Encoder, device: torch.device, manifest: Manifest) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        room = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    else:
        room = f"{torch.get_num_threads()} threads"
    return f"{describe_device(device)} ({room}), {manifest['embedding'].precision}, {model.attention_name}"


def _read_sequences(packed_sequences: Sequence[PackedSequence], proteins: Path) -> list[dict[str, Any]]:
    """Return sequences as input of the collator."""
    sequences = []
    try:
        with proteins.open("rb") as file:
            for packed in packed_sequences:
                file.seek(packed["offset"])
                residues = file.read(packed["length"])
                if hashlib.sha256(residues).hexdigest() != packed["sha256"]:
                    raise UserError(f"{proteins}: not what was packed, at {packed['id']}; delete it and run again")
                sequence: dict[str, Any] = {"id": packed["id"], "sequence": residues.decode()}
                if "tokens" not in packed:  # for nucleotides all tokens are pooled
                    window = packed.get("window", WindowOf(begin=0, pool_begin=0, pool_end=packed["length"]))
                    sequence["pool"] = (window["pool_begin"] - window["begin"], window["pool_end"] - window["begin"])
                sequences.append(sequence)
    except FileNotFoundError:
        raise UserError(f"{proteins}: no such file; run the prepare stage again") from None
    return sequences
