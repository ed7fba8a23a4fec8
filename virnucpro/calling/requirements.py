"""What a classifier goes with. Needs the standard library alone: a mismatch is refused before any job starts."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from virnucpro.errors import UserError

DEFAULT = Path(__file__).with_name("classifier.safetensors")

FORMAT = "virnucpro classifier 2"
MOST_BYTES = 1_000_000  # of a header


@dataclass(frozen=True)
class Requirements:
    """What a classifier was trained on, and may be used with, and where its calls begin.

    Attributes:
        encoder, encoder_sha256: name and digest of the weights that made the embeddings.
        layer: number of the layer.
        pooling: how residues became one embedding.
        chunk_size, short_chunks: bases of the chunks.
        viral_from, cellular_to: log-odds from which a contig is called viral, and up to which cellular.
        fewest_residues: in open frames; a contig with fewer is not called.
    """

    encoder: str
    encoder_sha256: str
    layer: str
    pooling: str
    chunk_size: int
    short_chunks: list[int]
    viral_from: float
    cellular_to: float
    fewest_residues: int

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Raise a UserError if a run with this configuration makes other embeddings than the classifier takes.

        A model given by its path is known by its digest only once it is loaded, and layers by number.
        """
        wanted: dict[str, object] = {"chunk_size": self.chunk_size}
        if not Path(config["model"]).exists():
            wanted["model"] = self.encoder
        for name, value in wanted.items():
            if config[name] != value:
                raise UserError(f"config: {_mismatch(name, config[name], value)}")
        if len(config["layers"]) > 1:
            raise UserError(f"config: {_mismatch('layers', config['layers'], self.layer)}")
        if others := set(config["short_chunks"]) - set(self.short_chunks):
            raise UserError(f"config: {_mismatch('short_chunks', sorted(others), self.short_chunks)}")

    def check_embeddings(self, attributes: Mapping[str, Any], chunk_sizes: Iterable[int], where: Path) -> None:
        """Raise a UserError if embeddings were made in another way than those that the classifier was trained on.

        Args:
            attributes: of the file of embeddings.
            chunk_sizes: of its frames.
            where: that file, for the message.
        """
        if attributes.get("model_sha256") != self.encoder_sha256:
            raise UserError(f"{where}: {_mismatch('model', attributes.get('model'), self.encoder)}")
        for name, value in (("layer", self.layer), ("pooling", self.pooling)):
            if str(attributes.get(name)) != value:
                raise UserError(f"{where}: {_mismatch(name, attributes.get(name), value)}")
        sizes = [self.chunk_size, *self.short_chunks]
        if others := set(chunk_sizes) - set(sizes):
            raise UserError(f"{where}: {_mismatch('chunk_size', max(others), sizes)}")


def _mismatch(name: str, made: object, takes: object) -> str:
    return (
        f"{name} is {made}, but the classifier was trained with {takes}; change it back, give a classifier that was "
        "trained for it, or set call to false"
    )


def as_metadata(requirements: Requirements) -> dict[str, str]:
    """Return the metadata of a classifier's file."""
    # One entry: safetensors writes several in an order that is another each time.
    return {FORMAT: json.dumps(asdict(requirements))}


def read_requirements(path: str | os.PathLike[str]) -> Requirements:
    """Read the requirements of a classifier's file.

    Raises:
        UserError: there is no such file, or it is none of a classifier that this version can use.
    """
    try:
        with Path(path).open("rb") as file:
            size = int.from_bytes(file.read(8), "little")  # safetensors: the length of a JSON header, and the header
            header = json.loads(file.read(min(size, MOST_BYTES)))
        metadata = header["__metadata__"]
        if FORMAT in metadata:
            return Requirements(**json.loads(metadata[FORMAT]))
    except OSError as error:
        raise UserError(f"classifier {path}: {error.strerror}; give one that a training wrote") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a classifier; give one that a training wrote") from None
    raise UserError(f"{path}: not a classifier that this version of virnucpro can use; train it anew")
