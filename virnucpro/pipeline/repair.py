"""Finds what a crash, a full disk or a stray hand damaged, and makes room for the workflow to make it again."""

import json
from collections.abc import Iterator
from pathlib import Path

from virnucpro.data.files import file_digest
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError


def repair(sample: Path, model_json: Path) -> Iterator[str]:
    """Delete what is damaged in a sample's folder, and yield a line about each.

    Only what is still to be used is looked at: manifests that have no newer embeddings, and embeddings of shards
    that the sample's own are not newer than. Without shards.tsv pack runs again; without its embeddings, a shard.
    """
    table = sample / "shards.tsv"
    if not table.exists() or not model_json.exists():
        return
    try:
        model_sha256 = json.loads(model_json.read_text())["sha256"]
        shards = read_table(table, "shard")
        digests = dict(zip(shards["shard"], shards["manifest_sha256"], strict=True))
    except (ValueError, KeyError):
        for path in (model_json, table):
            path.unlink()
        yield f"{model_json} or {table} is damaged: both are made again"
        return
    for shard, digest in digests.items():
        manifest, embeddings = sample / "manifests" / f"{shard}.json", sample / "shards" / f"{shard}.h5"
        if not _is_newer(embeddings, manifest) and not (manifest.exists() and file_digest(manifest) == digest):
            table.unlink()
            # With the result there, Snakemake would miss nothing.
            (sample / "embeddings.h5").unlink(missing_ok=True)
            yield f"{manifest} is damaged or missing: {sample.name} is packed and merged again"
            return
        if embeddings.exists() and not _is_newer(sample / "embeddings.h5", embeddings):
            damage = _damage(embeddings, model_sha256)
            if damage:
                embeddings.unlink()
                yield f"{embeddings} is {damage}: it is made again"


def _damage(embeddings: Path, model_sha256: str) -> str:
    from virnucpro.data.embeddings import EmbeddingFile  # loads HDF5, which reading a Snakefile can do without

    try:
        return "" if EmbeddingFile(embeddings).attributes.get("model_sha256") == model_sha256 else "of another model"
    except UserError:
        return "damaged"


def _is_newer(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.stat().st_mtime_ns > other.stat().st_mtime_ns
