"""Finds what a crash, a full disk or a stray hand damaged, and makes room for the workflow to make it again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from virnucpro.data.embeddings import EmbeddingFile
from virnucpro.data.files import file_digest
from virnucpro.errors import UserError


def repair(sample: Path, model_json: Path) -> Iterator[str]:
    """Delete what is damaged in a sample's folder, or made by another model, and yield a line about each.

    A manifest is looked at where its embeddings are not newer, and the embeddings of a shard where the sample's are
    not: whatever has been used since it was written needs no look. Without the list of shards, pack runs again; without
    embeddings, that shard alone.
    """
    table = sample / "shards.tsv"
    if not table.exists() or not model_json.exists():
        return
    model_sha256 = json.loads(model_json.read_text())["sha256"]
    shards = pd.read_csv(table, sep="\t", dtype=str)
    for shard, digest in zip(shards["shard"], shards["manifest_sha256"], strict=True):
        manifest, embeddings = sample / "manifests" / f"{shard}.json", sample / "shards" / f"{shard}.h5"
        if not _is_newer(embeddings, manifest) and not (manifest.exists() and file_digest(manifest) == digest):
            table.unlink()
            yield f"{manifest} is damaged or missing: {sample.name} is packed again"
            return
        if embeddings.exists() and not _is_newer(sample / "embeddings.h5", embeddings):
            try:
                damage = (
                    "" if EmbeddingFile(embeddings).attributes["model_sha256"] == model_sha256 else "of another model"
                )
            except UserError:
                damage = "damaged"
            if damage:
                embeddings.unlink()
                yield f"{embeddings} is {damage}: it is made again"


def _is_newer(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.stat().st_mtime_ns > other.stat().st_mtime_ns
