"""Manifests: the bins that one job embeds, as JSON that a person can read."""

import hashlib
import json
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import fastjsonschema

from virnucpro.data.files import write_text
from virnucpro.data.packing import SPECIAL_TOKENS
from virnucpro.errors import UserError


class WindowOf(TypedDict):
    """Where in its protein a window lies and which of its residues count; half-open, from 0, in the protein."""

    begin: int
    pool_begin: int
    pool_end: int


class PackedSequence(TypedDict):
    """A sequence of a bin, a protein or a window over one: its length and digest are those of what is embedded.

    `tokens` is there where they do not follow from the length, of nucleotides.
    """

    id: str
    offset: int
    length: int
    sha256: str
    truncated: bool
    tokens: NotRequired[int]
    window: NotRequired[WindowOf]


class Bin(TypedDict):
    """Sequences that run through the model at once."""

    tokens: int
    sequences: list[PackedSequence]


class Manifest(TypedDict):
    """One shard of a sample; workflow/schemas/manifest.schema.json says what every field means."""

    version: int
    sample: str
    shard: str
    embedding: dict[str, Any]
    token_budget: int
    bins: list[Bin]


def tokens_of(sequence: PackedSequence) -> int:
    """Return how many tokens a sequence has, special ones included."""
    return sequence.get("tokens", sequence["length"] + SPECIAL_TOKENS)


def sequence_digest(sequence: bytes) -> bytes:
    """Return the SHA-256 of a sequence's letters, 32 bytes."""
    return hashlib.sha256(sequence).digest()


def write_manifest(path: str | os.PathLike[str], manifest: Manifest) -> None:
    """Check and write a manifest, one line a sequence; a file that already says the same is left alone."""
    _check(manifest, path)
    head = {key: value for key, value in manifest.items() if key not in ("embedding", "bins")}
    embedding = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in manifest["embedding"].items())
    bins = ",\n".join(
        f'  {{"tokens": {a_bin["tokens"]}, "sequences": [\n'
        + ",\n".join(f"    {json.dumps(sequence)}" for sequence in a_bin["sequences"])
        + "\n  ]}"
        for a_bin in manifest["bins"]
    )
    described = f' "embedding": {{\n{embedding}\n }},\n "bins": [\n{bins}\n ]\n}}\n'
    write_text(path, f"{json.dumps(head, indent=1)[:-2]},\n{described}")


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read and check a manifest.

    Raises:
        UserError: it is missing, no JSON, not as the schema says, or its counts do not add up.
    """
    try:
        manifest: Manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; run the pack stage again") from None
    except ValueError as error:
        raise UserError(f"{path}: not a manifest: {error}; delete it and run the pack stage again") from None
    _check(manifest, path)
    return manifest


def _check(manifest: Manifest, path: str | os.PathLike[str]) -> None:
    try:
        _validator()(manifest)
    except fastjsonschema.JsonSchemaException as error:
        raise UserError(f"{path}: not a valid manifest: {error}") from None
    for number, a_bin in enumerate(manifest["bins"], start=1):
        tokens = sum(map(tokens_of, a_bin["sequences"]))
        if tokens != a_bin["tokens"]:
            raise UserError(f"{path}: bin {number} says {a_bin['tokens']} tokens, its sequences have {tokens}")
        if tokens > manifest["token_budget"]:
            raise UserError(f"{path}: bin {number} has {tokens} tokens, over the budget of {manifest['token_budget']}")


@cache
def _validator() -> Any:
    schema = files("virnucpro").joinpath("workflow", "schemas", "manifest.schema.json").read_text(encoding="utf-8")
    return fastjsonschema.compile(json.loads(schema))
