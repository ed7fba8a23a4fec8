"""Manifests: the bins that one job embeds, as JSON that a person can read."""

import json
import os
from typing import Annotated, Literal, NotRequired

from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter
from typing_extensions import TypedDict  # pydantic cannot use typing.TypedDict before Python 3.12

from virnucpro.data.checked import Name, Sha256, parse_json, read_json
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.files import write_text
from virnucpro.data.packing import SPECIAL_TOKENS
from virnucpro.errors import UserError

Tokens = Annotated[int, Field(ge=3)]  # special tokens included


class WindowOf(TypedDict):
    """Position of a window in a protein that is too long for the model; residues are half-open, from 0.

    Embedding starts at residue `begin`. Residues from `pool_begin` to `pool_end` are pooled.
    """

    begin: NonNegativeInt
    pool_begin: NonNegativeInt
    pool_end: PositiveInt


class PackedSequence(TypedDict):
    """Sequence of a bin: a protein, a window of one, or nucleotides.

    `offset` is the byte in proteins.faa, or nucleotides.fna, at which its letters begin. `length` is the number of
    letters and `sha256` their digest. `truncated` says that the protein was longer. Only nucleotides have `tokens`.
    """

    id: Name
    offset: NonNegativeInt
    length: PositiveInt
    sha256: Sha256
    truncated: bool
    tokens: NotRequired[Tokens]
    window: NotRequired[WindowOf]


class Bin(TypedDict):
    """Sequences that run through the model in one batch, and the sum of their tokens."""

    tokens: Tokens
    sequences: Annotated[list[PackedSequence], Field(min_length=1)]


class Manifest(TypedDict):
    """One shard of a sample; `version` is the version of the format, `token_budget` the tokens that a bin may hold."""

    version: Literal[2]
    sample: Name
    shard: Annotated[str, Field(pattern="^[0-9]{4,}$")]
    embedding: EmbeddingDescription
    token_budget: Tokens
    bins: list[Bin]


_MANIFEST = TypeAdapter(Manifest)


def tokens_of(sequence: PackedSequence) -> int:
    """Return the number of tokens of a sequence, including special tokens."""
    return sequence.get("tokens", sequence["length"] + SPECIAL_TOKENS)


def write_manifest(path: str | os.PathLike[str], manifest: Manifest) -> None:
    """Check and write a manifest, one sequence per line; a file with the same content is left alone."""
    head = {key: value for key, value in manifest.items() if key not in ("embedding", "bins")}
    description = manifest["embedding"].as_json()
    embedding = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in description.items())
    bins = ",\n".join(
        f'  {{"tokens": {a_bin["tokens"]}, "sequences": [\n'
        + ",\n".join(f"    {json.dumps(sequence)}" for sequence in a_bin["sequences"])
        + "\n  ]}"
        for a_bin in manifest["bins"]
    )
    described = f' "embedding": {{\n{embedding}\n }},\n "bins": [\n{bins}\n ]\n}}\n'
    text = f"{json.dumps(head, indent=1)[:-2]},\n{described}"
    _check_tokens(parse_json(text, path, _MANIFEST, "pack"), path)
    write_text(path, text)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read and check a manifest.

    Raises:
        UserError: The file is missing, not a manifest, or its counts of tokens do not add up.
    """
    manifest = read_json(path, _MANIFEST, "pack")
    _check_tokens(manifest, path)
    return manifest


def _check_tokens(manifest: Manifest, path: str | os.PathLike[str]) -> None:
    for number, a_bin in enumerate(manifest["bins"], start=1):
        tokens = sum(map(tokens_of, a_bin["sequences"]))
        if tokens != a_bin["tokens"]:
            raise UserError(f"{path}: bin {number} says {a_bin['tokens']} tokens, its sequences have {tokens}")
        if tokens > manifest["token_budget"]:
            raise UserError(f"{path}: bin {number} has {tokens} tokens, over the budget of {manifest['token_budget']}")
