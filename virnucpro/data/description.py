"""Description of embeddings: all settings that change their values."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from virnucpro.data.cards import TokenBudget
from virnucpro.data.checked import Name, Precision, first_problem
from virnucpro.errors import UserError

# Suffixes of files by the encoder that wrote them: of proteins, or of the nucleotides of frames.
PROTEINS = ""
NUCLEOTIDES = "_nucleotides"

ALL_TOKENS = "mean_of_all_tokens"

ProteinKind = Literal["frame", "gene", "protein"]


@dataclass(frozen=True)
class EmbeddingDescription:
    """Settings that embeddings were made with.

    Files with equal descriptions can be merged, and classified by one classifier.

    Attributes:
        encoder_sha256: Digest of the model's weights; for DNABERT-S, of its weights and tokenizer.
        embed_dim: Width of one layer's embedding.
        layers: Numbers of the layers; 0 is the model's input.
        pooling: `mean` over the residues of a protein, or `mean_of_all_tokens` over the nucleotides of a frame, special
            tokens included.
        proteins: Origin of the proteins: `gene`, `frame` (open in a chunk), or `protein` of a FASTA file.
        chunk_size, short_chunks: Sizes in bases of the chunks that frames lie in; 0 and empty for other proteins.
        max_sequence_length: Residues that the model takes at once; 0, for no limit, for nucleotides.
        long_proteins: Treatment of longer proteins, `cut` or `windows`; `whole` for nucleotides.
    """

    encoder: Name
    encoder_sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]  # empty: unknown, for some VirNucPro classifiers
    embed_dim: PositiveInt
    layers: Annotated[tuple[int, ...], Field(min_length=1)]
    pooling: Annotated[str, Field(pattern="^(mean|mean_of_all_tokens)$")]
    precision: Precision
    proteins: ProteinKind
    chunk_size: NonNegativeInt
    short_chunks: tuple[PositiveInt, ...]
    max_sequence_length: NonNegativeInt
    long_proteins: Annotated[str, Field(pattern="^(cut|windows|whole)$")]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the description from the output of `as_json`.

        Raises:
            ValueError: A field is missing, unknown or wrong.
        """
        try:
            return TypeAdapter(cls).validate_json(json.dumps(values), strict=True, extra="forbid")
        except ValidationError as error:
            raise ValueError(f"description of embeddings: {first_problem(error)}") from None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {name: _listed(value) for name, value in asdict(self).items()}

    @property
    def is_of_nucleotides(self) -> bool:
        """Whether the nucleotides of frames were embedded, instead of their residues."""
        return self.pooling == ALL_TOKENS

    @property
    def digest(self) -> str:
        """SHA-256 of the description, in hex."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one embedding: [embed_dim], or [layers, embed_dim] for several layers."""
        return (self.embed_dim,) if len(self.layers) == 1 else (len(self.layers), self.embed_dim)

    def check_same(self, other: "EmbeddingDescription", where: Path, expected: str) -> None:
        """Raise a UserError that names the first field in which the embeddings in file `where` differ from `other`.

        The message calls the other embeddings `expected`.
        """
        for name, made in vars(self).items():
            wanted = getattr(other, name)
            if made != wanted:
                raise UserError(f"{where}: {name} is {made}, {expected} has {wanted}; delete it and run again")

    def check_trained_for(self, other: "EmbeddingDescription", where: str) -> None:
        """Raise a UserError if a classifier was trained on other embeddings than these.

        The precision may differ: half precision changes scores by a few thousandths. The sample may use fewer sizes of
        short chunks than the training. The message begins with `where`.
        """
        if not other.encoder_sha256:
            # An unpublished VirNucPro classifier does not say which model and chunks it was trained with.
            layers = self.layers if len(self.layers) == len(other.layers) else other.layers
            chunk_size = other.chunk_size or self.chunk_size
            other = replace(other, encoder_sha256=self.encoder_sha256, embed_dim=self.embed_dim)
            other = replace(other, layers=layers, chunk_size=chunk_size)
        if set(self.short_chunks) <= set(other.short_chunks):
            other = replace(other, short_chunks=self.short_chunks)
        for name, made in vars(self).items():
            trained = getattr(other, name)
            if name in ("encoder", "precision") or made == trained:
                continue
            if name == "encoder_sha256":
                name, made, trained = "model", self.encoder, other.encoder
            if name == "proteins":
                made, trained = f"{made}s", f"{trained}s"  # as the configuration spells them
            raise UserError(
                f"{where}: {name} is {_listed(made)}, but the classifier was trained with {_listed(trained)}; "
                "change it back, give a classifier that was trained for it, or set call to false"
            )


def describe_embeddings(
    device: TokenBudget,
    prepared: Mapping[str, Any],
    layers: Sequence[int],
    max_sequence_length: int,
    long_proteins: str,
) -> EmbeddingDescription:
    """Return the description of a sample's future embeddings, from its token budget and the settings of prepare.

    Raises:
        UserError: The model has no such layer.
    """
    model = device["model"]
    return EmbeddingDescription(
        encoder=model["name"],
        encoder_sha256=model["sha256"],
        embed_dim=model["embed_dim"],
        layers=tuple(layer_numbers(layers, model["layers"])),
        pooling="mean",
        precision=device["precision"],
        max_sequence_length=max_sequence_length,
        long_proteins=long_proteins,
        **describe_proteins(prepared),
    )


def describe_nucleotides(
    device: TokenBudget, prepared: Mapping[str, Any], layers: Sequence[int]
) -> EmbeddingDescription:
    """Return the description of the embeddings of nucleotides of a sample's frames, as VirNucPro makes them."""
    described = describe_embeddings(device, prepared, layers, max_sequence_length=0, long_proteins="whole")
    return replace(described, pooling=ALL_TOKENS)


def describe_proteins(prepared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a description that say where the proteins come from, by the settings of prepare."""
    kind = prepared["proteins"].removesuffix("s") if prepared["type"] != "proteins" else "protein"
    chunks = (prepared["chunk_size"], tuple(prepared["short_chunks"])) if kind == "frame" else (0, ())
    return {"proteins": kind, "chunk_size": chunks[0], "short_chunks": chunks[1]}


def layer_numbers(layers: Sequence[int], last: int) -> list[int]:
    """Return layer numbers from 0 (the model's input) to `last`; negative numbers count from the end.

    Raises:
        UserError: The model has no such layer.
    """
    for number in layers:
        if not -last - 1 <= number <= last:
            raise UserError(f"layers: no layer {number}, only 0 (its input) to {last} in this model")
    return [number % (last + 1) for number in layers]


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
