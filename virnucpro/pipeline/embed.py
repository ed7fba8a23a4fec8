"""embed: the bins of one manifest through ESM-2, or through DNABERT-S."""

import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch

from virnucpro.data.collation import BatchShape, batch_shapes
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import Rows, new_embedding_file
from virnucpro.data.manifest import Manifest, PackedSequence, WindowOf, read_manifest, sequence_digest, tokens_of
from virnucpro.data.provenance import RECORDS, begin_writing, checked_input, write_provenance
from virnucpro.encoders.checkpoint import load_encoder
from virnucpro.encoders.devices import DTYPES, describe_device, lease_device
from virnucpro.encoders.encoder import Encoder
from virnucpro.encoders.runner import MOST_SEQUENCES, AsyncInferenceRunner
from virnucpro.encoders.weights import find_nucleotide_weights, find_weights
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 5

Place = tuple[str, int]  # the id of a protein, and the residues of it before what is embedded

_NOTHING: dict[str, Any] = {
    "device": "none",
    "attention": "none",
    "compiled": False,
    "bins": 0,
    "tokens": 0,
    "seconds": 0.0,
}


def embed(
    manifest_path: Path,
    proteins: Path,
    model: str,
    output: Path,
    per_residue: bool = False,
    device: str = "auto",
    threads: int | None = None,
    compiled: bool = False,
) -> None:
    """Embed every sequence of a manifest: the mean over its residues; of nucleotides, over all tokens.

    Writes `output`, HDF5 with a row a sequence in the order of `proteins`, and beside it, ending in .json, the record
    of what it was made from, what it ran on and how fast.

    Args:
        manifest_path: the shard's manifest.
        proteins: proteins.faa, or nucleotides.fna, whose letters the manifest points at.
        model: name or path of the manifest's model.
        output: the HDF5 file.
        per_residue: whether to write the residues' embeddings beside their means.
        device: auto, gpu or cpu.
        threads: CPU threads, or None for torch's own choice.
        compiled: whether to compile the model and capture its forward as a CUDA graph, where that can be done.

    Raises:
        UserError: the manifest, the proteins and the weights do not belong together.
    """
    record = output.with_suffix(".json")
    source = checked_input(manifest_path, manifest_path.absolute().parent.parent / RECORDS, "pack")
    manifest = read_manifest(manifest_path)
    description = manifest["embedding"]
    sequences = _read_sequences(manifest, proteins)
    residues = [_pooled(sequence) for sequence in sequences.values()] if per_residue else None
    ids, begins = [name for name, _ in sequences], [begin for _, begin in sequences]
    begin_writing(record, "embed", [output])
    new_file = new_embedding_file(output, ids, description, residues, begins)
    if sequences:
        weights = _find_weights(model, description, manifest_path)
        if threads:
            torch.set_num_threads(threads)
        with lease_device(device) as leased:
            encoder = load_encoder(weights, leased, DTYPES[description.precision])
            shapes = _shapes_of_bins(manifest, encoder) if compiled else []
            runner = AsyncInferenceRunner(encoder, description.layers, per_residue, shapes)
            where = _describe(encoder, leased, manifest)
            logger.info("embed: %s %s on %s", manifest["sample"], manifest["shard"], where)
            progress = _Progress(manifest)
            with new_file as file:
                _run(runner, manifest, sequences, file, progress)
            ran = {"device": describe_device(leased), "attention": encoder.attention_name}
        details = {**ran, "compiled": runner.compiled, **progress.totals()}
    else:
        details = _NOTHING
        with new_file:
            pass
    write_provenance(record, "embed", {"per_residue": per_residue}, {"manifest": source}, [output], details)


def _find_weights(model: str, description: EmbeddingDescription, manifest: Path) -> Path:
    weights = find_nucleotide_weights(model) if description.is_of_nucleotides else find_weights(model)
    if weights.sha256 != description.encoder_sha256:
        raise UserError(
            f"{weights.path}: SHA-256 {weights.sha256}, but {manifest} was packed for "
            f"{description.encoder_sha256}; run the workflow again, so that it packs for these weights"
        )
    return weights.path


def _run(
    runner: AsyncInferenceRunner,
    manifest: Manifest,
    sequences: dict[Place, dict[str, Any]],
    file: h5py.File,
    progress: "_Progress",
) -> None:
    """Embed all bins and write what comes out to the rows of its sequences."""
    row_of = {place: row for row, place in enumerate(sequences)}
    means = np.empty(file["embedding"].shape, np.float32)
    start = file["residue_start"][:] if runner.per_residue else np.empty(0, np.int64)
    bins = [[_place(packed) for packed in a_bin["sequences"]] for a_bin in manifest["bins"]]
    embedded_bins = runner.run([sequences[place] for place in places] for places in bins)
    for places, a_bin, embedded in zip(bins, manifest["bins"], embedded_bins, strict=True):
        rows = [row_of[place] for place in places]
        means[rows] = embedded.embeddings
        if embedded.residues is not None:
            _write_residues(file, start, rows, embedded.residues)
        progress.advance(a_bin["tokens"])
    file["embedding"][...] = means


def _shapes_of_bins(manifest: Manifest, model: Encoder) -> list[BatchShape]:
    """Return the shapes of a compiled forward's batches, or none with a warning where it cannot be compiled."""
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


def _read_sequences(manifest: Manifest, proteins: Path) -> dict[Place, dict[str, Any]]:
    """Return the manifest's sequences by their places, in the order of the proteins, as the collator takes them."""
    packed_sequences = [packed for a_bin in manifest["bins"] for packed in a_bin["sequences"]]
    packed_sequences.sort(key=lambda packed: packed["offset"])
    sequences: dict[Place, dict[str, Any]] = {}
    try:
        with proteins.open("rb") as file:
            for packed in packed_sequences:
                file.seek(packed["offset"])
                residues = file.read(packed["length"])
                if sequence_digest(residues).hex() != packed["sha256"]:
                    raise UserError(f"{proteins}: {packed['id']} is not what was packed; run the prepare stage again")
                begin = _place(packed)[1]
                sequence = sequences[_place(packed)] = {"id": packed["id"], "sequence": residues.decode()}
                if "tokens" not in packed:  # of nucleotides all tokens are pooled
                    window = packed.get("window", WindowOf(begin=0, pool_begin=0, pool_end=packed["length"]))
                    sequence["pool"] = (window["pool_begin"] - begin, window["pool_end"] - begin)
    except FileNotFoundError:
        raise UserError(f"{proteins}: no such file; run the prepare stage again") from None
    return sequences


def _place(packed: PackedSequence) -> Place:
    return packed["id"], packed["window"]["begin"] if "window" in packed else 0


def _pooled(sequence: dict[str, Any]) -> int:
    begin, end = sequence["pool"]
    return int(end - begin)


def _write_residues(file: h5py.File, start: npt.NDArray[np.int64], rows: list[int], residues: Rows) -> None:
    """Write the residues of a bin's sequences, which lie end to end in the order of the bin, to where they belong."""
    taken = 0
    for row in rows:
        begin, end = start[row : row + 2]
        file["residue_embedding"][begin:end] = residues[taken : taken + end - begin]
        taken += end - begin


class _Progress:
    """Says every few seconds how far a shard is and how long it will take."""

    def __init__(self, manifest: Manifest) -> None:
        self.name = f"{manifest['sample']} {manifest['shard']}"
        self.bins = len(manifest["bins"])
        self.tokens = sum(a_bin["tokens"] for a_bin in manifest["bins"])
        self.bins_done = self.tokens_done = 0
        self.started = self.reported = time.monotonic()

    def advance(self, tokens: int) -> None:
        self.bins_done += 1
        self.tokens_done += tokens
        now = time.monotonic()
        if self.bins_done == self.bins or now - self.reported >= PROGRESS_SECONDS:
            self.reported = now
            rate = self.tokens_done / (now - self.started)
            left = round((self.tokens - self.tokens_done) / rate)
            logger.info(
                "embed: %s: %d of %d bins, %.0f tokens/s, %s left",
                *(self.name, self.bins_done, self.bins, rate, timedelta(seconds=left)),
            )

    def totals(self) -> dict[str, float]:
        seconds = time.monotonic() - self.started
        return {"bins": self.bins, "tokens": self.tokens, "seconds": round(seconds, 3)}
