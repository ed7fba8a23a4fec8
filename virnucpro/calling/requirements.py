"""What a classifier goes with, read without loading it: a mismatch is refused before any job starts."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from virnucpro.data.description import EmbeddingDescription
from virnucpro.errors import UserError

DEFAULT = Path(__file__).with_name("classifier.safetensors")

FORMAT = "virnucpro classifier 3"
MOST_BYTES = 1_000_000  # of a header


@dataclass(frozen=True)
class Requirements:
    """What a classifier was trained on, and where its calls begin.

    Attributes:
        embedding: the embeddings that it was trained on, and may be used with.
        viral_from, cellular_to: log-odds from which a contig is called viral, and up to which cellular.
        fewest_residues: in open frames; a contig with fewer is not called.
    """

    embedding: EmbeddingDescription
    viral_from: float
    cellular_to: float
    fewest_residues: int

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Raise a UserError if a run with this configuration makes other embeddings than the classifier takes.

        The digest of a model given by its path, and which layer is the last, are known only once it is loaded: the call
        stage compares them.
        """
        made = replace(
            self.embedding,
            **{name: config[name] for name in ("chunk_size", "max_sequence_length", "long_proteins")},
            short_chunks=tuple(config["short_chunks"]),
        )
        if not Path(config["model"]).exists() and config["model"] != self.embedding.encoder:
            made = replace(made, encoder=config["model"], encoder_sha256="")
        if len(config["layers"]) > 1:
            made = replace(made, layers=tuple(config["layers"]))
        made.check_trained_for(self.embedding, "config")


def as_metadata(requirements: Requirements) -> dict[str, str]:
    """Return the metadata of a classifier's file."""
    # One entry: safetensors writes several in an order that is another each time.
    return {FORMAT: json.dumps(asdict(requirements) | {"embedding": requirements.embedding.as_json()})}


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
            values = json.loads(metadata[FORMAT])
            return Requirements(**(values | {"embedding": EmbeddingDescription.from_json(values["embedding"])}))
    except OSError as error:
        raise UserError(f"classifier {path}: {error.strerror}; give one that a training wrote") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: not a classifier; give one that a training wrote") from None
    raise UserError(f"{path}: not a classifier that this version of virnucpro can use; train it anew")
