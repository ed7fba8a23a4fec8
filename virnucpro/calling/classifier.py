"""Viral or cellular: log-odds of every protein from its embedding, and of a contig from all its proteins.

Small networks compute log-odds of a protein from its mean embedding and its length; their mean is used. The log-odds of
a contig are a logistic regression over its evidence. The first number is the sum of its proteins' log-odds divided by
the square root of their number. A sum would treat proteins as independent evidence, a mean as the same evidence. The
other numbers are the mean weighted by residues, and three numbers on the arrangement of genes
(`virnucpro.calling.evidence`).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from scipy.special import erf

from virnucpro.calling.evidence import EVIDENCE, group_means
from virnucpro.calling.requirements import Requirements, as_metadata, read_requirements
from virnucpro.data.arrays import Floats, Rows
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError

T = TypeVar("T")

CLAMP = 6.0  # standardized inputs are clipped to +-6, to limit the effect of outliers


@dataclass(frozen=True)
class Classifier:
    """A trained classifier; arrays are float32, except `hidden_weight`, which is float16 to halve the file.

    Attributes:
        mean, scale: Standardization of `protein_inputs`, [inputs].
        hidden_weight, hidden_bias: Hidden layers, [networks, hidden, inputs] and [networks, hidden].
        output_weight, output_bias: Output layers, [networks, hidden] and [networks].
        contig_mean, contig_scale, contig_weight: Standardization and weights of the evidence, [numbers].
        contig_bias: Bias of the log-odds of contigs, [1].
        requirements: Embeddings and contigs that it can be used for.
    """

    mean: Rows
    scale: Rows
    hidden_weight: npt.NDArray[np.float16]
    hidden_bias: Rows
    output_weight: Rows
    output_bias: Rows
    contig_mean: Rows
    contig_scale: Rows
    contig_weight: Rows
    contig_bias: Rows
    requirements: Requirements

    def protein_log_odds(self, inputs: Rows) -> Floats:
        """Return the log-odds of proteins for viral at 50 % viral, float64 [proteins], from `protein_inputs`."""
        log_odds = np.zeros(len(inputs))
        for output in network_outputs(self, inputs):
            log_odds += output
        return log_odds / len(self.output_bias)

    def contig_log_odds(self, evidence: Floats) -> Floats:
        """Return the calibrated log-odds of contigs, float64 [contigs], from evidence, float64 [contigs, numbers]."""
        standard = (evidence - self.contig_mean) / self.contig_scale
        return np.asarray(standard @ self.contig_weight + self.contig_bias, np.float64)


def protein_inputs(embedding: Rows, proteins: pd.DataFrame) -> Rows:
    """Return the inputs of the networks, float32 [proteins, layers x embed_dim + 1].

    The inputs are the embedding, layers side by side, and the logarithm of the number of residues. For a frame both are
    of its group of linked frames.

    Args:
        embedding: Embeddings, float32 [proteins, embed_dim] or [proteins, layers, embed_dim].
        proteins: Table of `describe_groups`, with all proteins of their contigs.
    """
    flat = embedding.reshape(len(embedding), int(np.prod(embedding.shape[1:])))
    residues = np.log(proteins["group_residues"].to_numpy(np.float32))
    return np.column_stack([group_means(flat, proteins), residues])


def network_outputs(arrays: Any, inputs: Rows) -> Iterator[Rows]:
    """Yield the output of each network of a classifier, float32 [rows], or of a head, float32 [rows, classes]."""
    standard = standardize(inputs, arrays.mean, arrays.scale)
    layers = arrays.hidden_weight, arrays.hidden_bias, arrays.output_weight, arrays.output_bias
    for weight, bias, output_weight, output_bias in zip(*layers, strict=True):
        hidden = standard @ weight.astype(np.float32).T + bias
        hidden *= 0.5 * (1 + erf(hidden / np.sqrt(2)))  # GELU
        yield hidden @ output_weight.T + output_bias


def standardize(inputs: Rows, mean: Rows, scale: Rows) -> Rows:
    """Return inputs minus their mean, divided by their scale and clipped to +-6."""
    return np.asarray(np.clip((inputs - mean) / scale, -CLAMP, CLAMP), np.float32)


def save_classifier(classifier: Any, path: str | os.PathLike[str]) -> None:
    """Write a classifier, also one of the original VirNucPro, as safetensors with its requirements as metadata."""
    arrays = {name: array for name, array in vars(classifier).items() if name != "requirements"}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays, as_metadata(classifier.requirements)))  # save_file makes it private


def read_safetensors(path: str | os.PathLike[str], make: Callable[..., T]) -> T:
    """Read the arrays and the requirements that `save_classifier` wrote, and pass them to a class.

    Raises:
        UserError: The file is missing or damaged, or its arrays do not fit the class.
    """
    requirements = read_requirements(path)
    try:
        return make(**load_file(path), requirements=requirements)
    except (OSError, SafetensorError, TypeError) as error:
        raise UserError(f"{path}: a damaged classifier ({' '.join(str(error).split())}); copy it again") from None


def check_shapes(arrays: Any, embeddings: Sequence[EmbeddingDescription | None], classes: tuple[int, ...] = ()) -> None:
    """Raise a ValueError if the arrays of networks do not fit each other, the embeddings or the classes."""
    networks, hidden, inputs = arrays.hidden_weight.shape
    widths = [len(one.layers) * one.embed_dim for one in embeddings if one]
    if inputs != sum(widths) + 1:
        raise ValueError(f"{inputs} inputs, but embeddings of {' + '.join(map(str, widths))} numbers")
    shapes = {
        "mean": (inputs,),
        "scale": (inputs,),
        "hidden_bias": (networks, hidden),
        "output_weight": (networks, *classes, hidden),
        "output_bias": (networks, *classes),
    }
    for name, shape in shapes.items():
        if (found := getattr(arrays, name).shape) != shape:
            raise ValueError(f"{name} has shape {found}, but must have {shape}")


def load_classifier(path: str | os.PathLike[str]) -> Classifier:
    """Read a classifier.

    Raises:
        UserError: The file is missing or damaged, or holds a classifier over other evidence.
    """
    classifier = read_safetensors(path, Classifier)
    of_contigs = (classifier.contig_mean, classifier.contig_scale, classifier.contig_weight)
    if any(array.shape != (len(EVIDENCE),) for array in of_contigs) or classifier.contig_bias.shape != (1,):
        raise UserError(f"{path}: a classifier of another version, over other evidence; train it again")
    try:
        check_shapes(classifier, [classifier.requirements.embedding, classifier.requirements.nucleotides])
    except ValueError as error:
        raise UserError(f"{path}: a damaged classifier ({error}); copy it again") from None
    return classifier
