"""Viral or cellular: log-odds of every protein from its embedding, and of a contig from all its proteins.

The log-odds of a protein are the mean of those that small networks give it, from its mean embedding and its length.
The log-odds of a contig are a logistic regression over its evidence. The first number is the sum of its proteins'
log-odds over the square root of their number. It lies between a sum, as if proteins were independent evidence, and a
mean, as if they were all the same evidence. The others are their mean weighted by residues, and three that tell how
genes are arranged (`virnucpro.calling.evidence`).
"""

import os
from collections.abc import Callable
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
from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError

T = TypeVar("T")

CLAMP = 6.0  # standardized inputs beyond it are cut, so that an odd protein cannot shout


@dataclass(frozen=True)
class Classifier:
    """A trained classifier; arrays are float32, but for `hidden_weight`, which is float16 to halve the file.

    Attributes:
        mean, scale: [inputs], of what `protein_inputs` gives.
        hidden_weight, hidden_bias: [networks, hidden, inputs] and [networks, hidden].
        output_weight, output_bias: [networks, hidden] and [networks].
        contig_mean, contig_scale, contig_weight: [numbers], of the evidence.
        contig_bias: [1].
        requirements: what it may be used with.
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
        """Return the log-odds of proteins for viral, float64 [proteins], both labels taken as equally frequent.

        The inputs are those of `protein_inputs`.
        """
        standard = standardize(inputs, self.mean, self.scale)
        log_odds = np.zeros(len(inputs))
        for weight, bias, output, output_bias in zip(
            self.hidden_weight, self.hidden_bias, self.output_weight, self.output_bias, strict=True
        ):
            hidden = hidden_layer(standard, weight, bias)
            log_odds += hidden @ output + output_bias
        return log_odds / len(self.output_bias)

    def contig_log_odds(self, evidence: Floats) -> Floats:
        """Return the calibrated log-odds of contigs, float64 [contigs], from evidence, float64 [contigs, numbers]."""
        standard = (evidence - self.contig_mean) / self.contig_scale
        return np.asarray(standard @ self.contig_weight + self.contig_bias, np.float64)


def protein_inputs(embedding: Rows, proteins: pd.DataFrame) -> Rows:
    """Return what the networks see of proteins, float32 [proteins, layers x embed_dim + 1].

    The mean embedding of the protein, of a frame that of its group, layers side by side; and the log of its residues.
    Embeddings are float32 [proteins, embed_dim] or [proteins, layers, embed_dim]; the table is of `describe_groups`,
    with all proteins of their contigs.
    """
    flat = embedding.reshape(len(embedding), int(np.prod(embedding.shape[1:])))
    residues = np.log(proteins["group_residues"].to_numpy(np.float32))
    return np.column_stack([group_means(flat, proteins), residues])


def hidden_layer(standard: Rows, weight: npt.NDArray[np.float16], bias: Rows) -> Rows:
    """Return what a network's hidden units make of standardized inputs, float32 [inputs, hidden], after GELU."""
    hidden = standard @ weight.astype(np.float32).T + bias
    hidden *= 0.5 * (1 + erf(hidden / np.sqrt(2)))
    return np.asarray(hidden)


def standardize(inputs: Rows, mean: Rows, scale: Rows) -> Rows:
    """Return inputs in units of their spread around the mean, cut to +-6."""
    return np.asarray(np.clip((inputs - mean) / scale, -CLAMP, CLAMP), np.float32)


def save_classifier(classifier: Any, path: str | os.PathLike[str]) -> None:
    """Write a classifier, this package's or one of the original, as safetensors with its requirements as metadata."""
    arrays = {name: array for name, array in vars(classifier).items() if name != "requirements"}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays, as_metadata(classifier.requirements)))  # save_file's is for its owner alone


def read_safetensors(path: str | os.PathLike[str], make: Callable[..., T]) -> T:
    """Return what a class makes of the arrays and the requirements that `save_classifier` wrote.

    Raises:
        UserError: the file is missing or damaged, or holds other arrays than the class takes.
    """
    requirements = read_requirements(path)
    try:
        return make(**load_file(path), requirements=requirements)
    except (OSError, SafetensorError, TypeError) as error:
        raise UserError(f"{path}: a damaged classifier ({error}); copy it again") from None


def load_classifier(path: str | os.PathLike[str]) -> Classifier:
    """Read a classifier.

    Raises:
        UserError: the file is missing or damaged, or holds a classifier over other evidence.
    """
    classifier = read_safetensors(path, Classifier)
    if len(classifier.contig_weight) != len(EVIDENCE):
        raise UserError(f"{path}: a classifier over other evidence than this version's; train it anew")
    return classifier
