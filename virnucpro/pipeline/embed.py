"""embed: the bins of one manifest through ESM-2."""

import json
import logging
import time
from pathlib import Path

import numpy as np
import torch

from virnucpro import __version__
from virnucpro.data.embeddings import Attributes, write_embeddings
from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import write_text
from virnucpro.data.manifest import Manifest, read_manifest, sequence_digest
from virnucpro.errors import UserError
from virnucpro.models.checkpoint import file_digest, load_esm2
from virnucpro.models.devices import DTYPES, lease_device
from virnucpro.models.weights import find_weights
from virnucpro.pipeline.runner import AsyncInferenceRunner

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 5


def embed(manifest_path: Path, frames: Path, model: str, output: Path, threads: int | None = None) -> None:
    """Embed every sequence of a manifest: the mean over its residues of the last layer.

    Writes `output`, HDF5 with a row a sequence in the order of `frames`, and beside it, ending in .json, what it ran on
    and how fast.

    Args:
        manifest_path: the shard's manifest.
        frames: FASTA with at least the manifest's proteins.
        model: name or path of the manifest's model.
        output: the HDF5 file.
        threads: CPU threads, or None for torch's own choice.

    Raises:
        UserError: the manifest, the proteins and the weights do not belong together.
    """
    manifest = read_manifest(manifest_path)
    order, proteins = _read_proteins(manifest, frames)
    if threads:
        torch.set_num_threads(threads)
    with lease_device() as device:
        weights = find_weights(model)
        digest = file_digest(weights)
        if digest != manifest["model"]["sha256"]:
            raise UserError(
                f"{weights}: SHA-256 {digest}, but {manifest_path} was packed for {manifest['model']['sha256']}; "
                "run the workflow again, so that it packs for these weights"
            )
        esm2 = load_esm2(weights, device, DTYPES[manifest["precision"]])
        bins = [[{"id": s["id"], "sequence": proteins[s["id"]]} for s in b["sequences"]] for b in manifest["bins"]]
        row = {name: number for number, name in enumerate(order)}
        embeddings = np.full((len(order), esm2.config.embed_dim), np.nan, np.float32)
        progress = _Progress(manifest)
        for a_bin, (ids, rows) in zip(manifest["bins"], AsyncInferenceRunner(esm2).run(bins), strict=True):
            embeddings[[row[name] for name in ids]] = rows
            progress.advance(a_bin["tokens"])
        device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    attributes: Attributes = {
        "model": manifest["model"]["name"],
        "model_sha256": digest,
        "layer": esm2.config.layers,
        "pooling": "mean",
        "precision": manifest["precision"],
        "max_sequence_length": manifest["max_sequence_length"],
        "virnucpro_version": __version__,
    }
    write_embeddings(output, order, [embeddings], esm2.config.embed_dim, attributes)
    speed = {"device": device_name, "attention": esm2.attention.__name__, **progress.totals()}
    write_text(output.with_suffix(".json"), json.dumps(speed, indent=1) + "\n")


def _read_proteins(manifest: Manifest, frames: Path) -> tuple[list[str], dict[str, str]]:
    """Return the ids of the manifest's proteins in the order of the FASTA, and the proteins as they are embedded."""
    wanted = {s["id"]: s["sha256"] for b in manifest["bins"] for s in b["sequences"]}
    proteins = {}
    for name, protein in read_fasta(frames, may_be_empty=True):
        if name in wanted:
            protein = protein[: manifest["max_sequence_length"]]
            if sequence_digest(protein).hex() != wanted[name]:
                raise UserError(f"{frames}: {name} is not the sequence that was packed; run the pack stage again")
            proteins[name] = protein
    missing = wanted.keys() - proteins.keys()
    if missing:
        raise UserError(f"{frames}: {min(missing)} and {len(missing) - 1} others of the manifest are not in it")
    return list(proteins), proteins


class _Progress:
    """Says every few seconds how far a shard is and how long it will take."""

    def __init__(self, manifest: Manifest) -> None:
        self.name = f"{manifest['sample']} {manifest['shard']}"
        self.bins = len(manifest["bins"])
        self.tokens = sum(a_bin["tokens"] for a_bin in manifest["bins"])
        self.bins_done = self.tokens_done = 0
        self.started = self.said = time.monotonic()

    def advance(self, tokens: int) -> None:
        self.bins_done += 1
        self.tokens_done += tokens
        now = time.monotonic()
        if self.bins_done == self.bins or now - self.said >= PROGRESS_SECONDS:
            self.said = now
            rate = self.tokens_done / (now - self.started)
            left = (self.tokens - self.tokens_done) / rate
            logger.info(
                "embed: %s: %d of %d bins, %.0f tokens/s, %s left",
                *(self.name, self.bins_done, self.bins, rate, f"{left // 60:.0f}:{left % 60:02.0f}"),
            )

    def totals(self) -> dict[str, float]:
        seconds = time.monotonic() - self.started
        return {"bins": self.bins, "tokens": self.tokens, "seconds": round(seconds, 3)}
