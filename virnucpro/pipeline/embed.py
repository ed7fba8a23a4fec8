"""embed: the bins of one manifest through ESM-2."""

import json
import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch

from virnucpro.data.collation import BatchShape, batch_shapes
from virnucpro.data.embeddings import Rows, describe_embeddings, new_embedding_file, row_shape_of
from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import remove_leftovers, write_text
from virnucpro.data.manifest import Manifest, PackedSequence, WindowOf, read_manifest, sequence_digest
from virnucpro.encoders.checkpoint import load_esm2
from virnucpro.encoders.devices import DTYPES, describe_device, lease_device
from virnucpro.encoders.esm2 import ESM2
from virnucpro.encoders.runner import MOST_SEQUENCES, AsyncInferenceRunner
from virnucpro.encoders.weights import find_weights
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 5


def embed(
    manifest_path: Path,
    fasta: Path,
    model: str,
    output: Path,
    layers: Sequence[int] = (-1,),
    per_residue: bool = False,
    device: str = "auto",
    threads: int | None = None,
    compiled: bool = False,
) -> None:
    """Embed every sequence of a manifest: the mean over its residues.

    Writes `output`, HDF5 with a row a sequence in the order of `fasta`, and beside it, ending in .json, what it ran on
    and how fast.

    Args:
        manifest_path: the shard's manifest.
        fasta: at least the manifest's proteins.
        model: name or path of the manifest's model.
        output: the HDF5 file.
        layers: numbers of the layers wanted; negative ones count from the end.
        per_residue: whether to write the residues' embeddings beside their means.
        device: auto, gpu or cpu.
        threads: CPU threads, or None for torch's own choice.
        compiled: whether to compile the model and capture its forward as a CUDA graph, where that can be done.

    Raises:
        UserError: the manifest, the proteins and the weights do not belong together.
    """
    remove_leftovers(output)
    manifest = read_manifest(manifest_path)
    proteins = _read_proteins(manifest, fasta)
    if threads:
        torch.set_num_threads(threads)
    weights = find_weights(model)
    if weights.sha256 != manifest["model"]["sha256"]:
        raise UserError(
            f"{weights.path}: SHA-256 {weights.sha256}, but {manifest_path} was packed for "
            f"{manifest['model']['sha256']}; run the workflow again, so that it packs for these weights"
        )
    with lease_device(device) as leased:
        esm2 = load_esm2(weights.path, leased, DTYPES[manifest["precision"]])
        shapes = _shapes_of_bins(manifest, esm2) if compiled else []
        runner = AsyncInferenceRunner(esm2, layers, per_residue, shapes)
        attributes = describe_embeddings(
            manifest["model"], runner.layers, manifest["precision"], manifest["max_sequence_length"]
        )
        row_shape = row_shape_of(layers, esm2.config.embed_dim)
        residues = [_pooled(sequence) for sequence in proteins.values()] if per_residue else None
        bins = ([proteins[s["id"]] for s in a_bin["sequences"]] for a_bin in manifest["bins"])
        logger.info("embed: %s %s on %s", manifest["sample"], manifest["shard"], _describe(esm2, leased, manifest))
        progress = _Progress(manifest)
        with new_embedding_file(output, list(proteins), row_shape, attributes, residues) as file:
            row_of = {name: number for number, name in enumerate(proteins)}
            means = np.empty((len(proteins), *row_shape), np.float32)
            start = np.cumsum([0, *(residues or [])], dtype=np.int64)
            for a_bin, embedded in zip(manifest["bins"], runner.run(bins), strict=True):
                rows = [row_of[name] for name in embedded.ids]
                means[rows] = embedded.embeddings
                if embedded.residues is not None:
                    _write_residues(file, start, rows, embedded.residues)
                progress.advance(a_bin["tokens"])
            file["embedding"][...] = means
        device_name = describe_device(leased)
    ran = {"device": device_name, "attention": esm2.attention.__name__, "compiled": runner.compiled}
    write_text(output.with_suffix(".json"), json.dumps(ran | progress.totals(), indent=1) + "\n")


def _shapes_of_bins(manifest: Manifest, model: ESM2) -> list[BatchShape]:
    """Return the shapes of a compiled forward's batches, or none with a warning where it cannot be compiled."""
    if not manifest["bins"]:
        return []
    if not model.capturable:
        logger.warning("compile needs a GPU of compute capability 8.0 and half precision: the model runs uncompiled")
        return []
    special = model.tokenizer.special_tokens
    tokens = [[s["length"] + special for s in a_bin["sequences"]] for a_bin in manifest["bins"]]
    shapes = batch_shapes(tokens, manifest["token_budget"])
    if (most := max(shape.sequences for shape in shapes)) > MOST_SEQUENCES:
        logger.warning("compile: bins of up to %d sequences, too many for one batch: uncompiled", most)
        return []
    return shapes


def _describe(model: ESM2, device: torch.device, manifest: Manifest) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        room = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    else:
        room = f"{torch.get_num_threads()} threads"
    return f"{describe_device(device)} ({room}), {manifest['precision']}, {model.attention.__name__}"


def _read_proteins(manifest: Manifest, fasta: Path) -> dict[str, dict[str, Any]]:
    """Return the manifest's sequences by id, in the order of the FASTA, as the collator takes them."""
    wanted: dict[str, list[PackedSequence]] = {}
    for a_bin in manifest["bins"]:
        for packed in a_bin["sequences"]:
            wanted.setdefault(_window(packed)["protein"], []).append(packed)
    proteins = {}
    for name, protein in read_fasta(fasta, may_be_empty=True):
        for packed in sorted(wanted.pop(name, []), key=lambda packed: _window(packed)["begin"]):
            window = _window(packed)
            begin = window["begin"]
            sequence = protein[begin : begin + packed["length"]]
            if sequence_digest(sequence).hex() != packed["sha256"]:
                raise UserError(f"{fasta}: {name} is not the sequence that was packed; run the pack stage again")
            pool = (window["pool_begin"] - begin, window["pool_end"] - begin)
            proteins[packed["id"]] = {"id": packed["id"], "sequence": sequence, "pool": pool}
    if wanted:
        raise UserError(f"{fasta}: {min(wanted)} and {len(wanted) - 1} others of the manifest are not in it")
    return proteins


def _window(packed: PackedSequence) -> WindowOf:
    """Return where a sequence lies in its protein; one without a window is the protein's beginning."""
    whole = WindowOf(protein=packed["id"], begin=0, pool_begin=0, pool_end=packed["length"])
    return packed.get("window", whole)


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
