"""Heads: networks over embeddings of genes, for the function of a gene and the taxon of a contig.

A file of heads belongs to one encoder, as a classifier does; `virnucpro train-names` makes one for another encoder.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save
from scipy.special import softmax

from virnucpro.calling.classifier import check_shapes, network_outputs
from virnucpro.data.arrays import Integers, Rows
from virnucpro.data.checked import first_problem
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError
from virnucpro.naming import CLASSES, RANKS, class_of

DEFAULT = Path(__file__).with_name("heads.safetensors")
FORMAT = "virnucpro heads 1"
NEVER = 2.0  # a limit that no probability reaches
Limits = Annotated[list[float], Field(min_length=len(CLASSES), max_length=len(CLASSES))]


@dataclass(frozen=True)
class Head:
    """Networks with one hidden layer; arrays are float32, except `hidden_weight`, which is float16.

    Attributes:
        mean, scale: Standardization of the inputs, [inputs].
        hidden_weight, hidden_bias: Hidden layers, [networks, hidden, inputs] and [networks, hidden].
        output_weight, output_bias: Output layers, [networks, classes, hidden] and [networks, classes].
    """

    mean: Rows
    scale: Rows
    hidden_weight: npt.NDArray[np.float16]
    hidden_bias: Rows
    output_weight: Rows
    output_bias: Rows

    def probabilities(self, inputs: Rows, sizes: Integers) -> Rows:
        """Return the probabilities of the classes for sets of genes, float32 [sets, classes], mean of the networks.

        The logits of a set are the sum of its genes' logits divided by the square root of their number.

        Args:
            inputs: Result of `protein_inputs`, float32 [genes, inputs]; genes of one set are in neighboring rows.
            sizes: Number of genes of each set, at least 1, int64 [sets].
        """
        firsts = np.cumsum(sizes) - sizes
        total = np.zeros((len(sizes), self.output_bias.shape[1]), np.float32)
        for output in network_outputs(self, inputs):
            logits = np.add.reduceat(output, firsts) if len(sizes) else total
            total += softmax(logits / np.sqrt(sizes)[:, None], axis=1)
        return np.asarray(total / len(self.output_bias), np.float32)


@dataclass(frozen=True)
class Described:
    """Requirements of heads, and the meaning of their classes.

    Attributes:
        embedding: Description of the embeddings that they were trained on.
        functions: Categories of genes, the classes of the function head.
        function_limits: Lowest probability at which each category is named; over 1 for a category that is never named.
        taxa: Lineage of each class of the taxon head, one taxon for each rank from realm to class.
        taxon_limits: Lowest probabilities at which a taxon or genome type is stated, by rank (or `genome`) and taxon;
            one for each of `virnucpro.naming.CLASSES`.
    """

    embedding: EmbeddingDescription
    functions: tuple[str, ...]
    function_limits: tuple[float, ...]
    taxa: tuple[dict[str, str], ...]
    taxon_limits: dict[str, dict[str, Limits]]

    def limit(self, rank: str, taxon: str, length: int) -> float:
        """Return the lowest probability at which a taxon, or a genome type, is stated for a contig of this length."""
        limits = self.taxon_limits[rank].get(taxon)
        return limits[class_of(length)] if limits else NEVER


@dataclass(frozen=True)
class Heads:
    """The heads of an encoder."""

    function: Head
    taxon: Head
    described: Described


def save_heads(heads: Heads, path: str | os.PathLike[str]) -> None:
    """Write heads as safetensors, with their description as metadata."""
    arrays = {
        f"{name}.{key}": array for name in ("function", "taxon") for key, array in vars(getattr(heads, name)).items()
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays, {FORMAT: json.dumps(asdict(heads.described))}))


def load_heads(path: str | os.PathLike[str]) -> Heads:
    """Read heads.

    Raises:
        UserError: The file is missing or damaged, or does not hold heads.
    """
    try:
        with safe_open(path, "numpy") as file:
            text = file.metadata()[FORMAT]
        arrays = load_file(path)
        described = TypeAdapter(Described).validate_json(text, strict=True, extra="forbid")
        function, taxon = (
            Head(**{key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")})
            for name in ("function", "taxon")
        )
        for head, classes in ((function, described.functions), (taxon, described.taxa)):
            check_shapes(head, [described.embedding], (len(classes),))
        if missing := {*RANKS[:4], "genome"} - described.taxon_limits.keys():
            raise ValueError(f"no limits for {', '.join(sorted(missing))}")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
        raise UserError(f"{path}: not the heads that virnucpro train-names writes ({problem})") from None
    return Heads(function, taxon, described)
