"""Viral or cellular: log-odds of every open frame from its embedding, and of a contig from its frames and its letters.

A frame is scored by several experts: networks that learned from all organisms, and some that learned from those of one
kind of host alone. An expert's log-odds are the mean of some small networks over the mean embedding of the frame group
that a frame is part of, over the group's length and over what else is open in its chunk. A contig's are a logistic
regression over the evidence of the longest frame group in each chunk, for each expert sum / sqrt(frames + 4), which
lies between a sum, as if frames were independent evidence, and a mean, as if they were all the same evidence; and over
how its reading frames are laid out.
"""

import os
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.special import erf

from virnucpro.calling.evidence import group_means
from virnucpro.calling.features import NAMES
from virnucpro.calling.requirements import Requirements, as_metadata, read_requirements
from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError

Floats = npt.NDArray[np.float64]

CLAMP = 6.0  # standardised inputs beyond it are cut, so that an odd protein cannot shout
PRIOR_FRAMES = 4  # of the evidence; chosen by cross-validation


@dataclass(frozen=True)
class Classifier:
    """A trained classifier; arrays are float32, but for `hidden_weight`, which is float16 to halve the file.

    Attributes:
        mean, scale: [inputs], of what `frame_inputs` gives.
        hidden_weight, hidden_bias: [experts, networks, hidden, inputs] and [experts, networks, hidden].
        output_weight, output_bias: [experts, networks, hidden] and [experts, networks].
        contig_mean, contig_scale, contig_weight: [experts + features], of the evidence and of `contig_features`.
        contig_bias: [1].
        requirements: what it may be used with.
    """

    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    hidden_weight: npt.NDArray[np.float16]
    hidden_bias: npt.NDArray[np.float32]
    output_weight: npt.NDArray[np.float32]
    output_bias: npt.NDArray[np.float32]
    contig_mean: npt.NDArray[np.float32]
    contig_scale: npt.NDArray[np.float32]
    contig_weight: npt.NDArray[np.float32]
    contig_bias: npt.NDArray[np.float32]
    requirements: Requirements

    def frame_log_odds(self, inputs: npt.NDArray[np.float32]) -> Floats:
        """Return the log-odds of frames for viral, float64 [frames, experts], both classes taken as equally frequent.

        The first expert is that of all organisms.

        Args:
            inputs: float32 [frames, inputs], of `frame_inputs`.
        """
        standard = standardise(inputs, self.mean, self.scale)
        weight = self.hidden_weight.astype(np.float32)
        hidden = np.einsum("fi,vnhi->fvnh", standard, weight, optimize=True) + self.hidden_bias
        hidden *= 0.5 * (1 + erf(hidden / np.sqrt(2)))  # GELU
        outputs = np.einsum("fvnh,vnh->fvn", hidden, self.output_weight) + self.output_bias
        return np.asarray(outputs.mean(axis=2), np.float64)

    def contig_log_odds(self, inputs: Floats) -> Floats:
        """Return the calibrated log-odds of contigs, float64 [contigs], from what `contig_inputs` gives."""
        standard = (inputs - self.contig_mean) / self.contig_scale
        return np.asarray(standard @ self.contig_weight + self.contig_bias, np.float64)

    def decide(self, log_odds: float, residues: int, length: int) -> tuple[str, str]:
        """Return what to call a contig, `viral`, `cellular` or `unresolved`, and why it is unresolved.

        Args:
            log_odds: of the contig.
            residues: in its open frames.
            length: of the contig in bases.
        """
        fewest = self.requirements.fewest_residues
        if not length:
            return "unresolved", "nothing in the record"
        if not residues:
            return "unresolved", "no open frame"
        if residues < fewest:
            return "unresolved", f"fewer than {fewest} residues in open frames"
        if log_odds >= self.requirements.viral_from:
            return "viral", ""
        return ("cellular", "") if log_odds <= self.requirements.cellular_to else ("unresolved", "not clear enough")


def probability(log_odds: Any) -> Any:
    """Return the probabilities that log-odds stand for, a number or an array."""
    return 1 / (1 + np.exp(-log_odds))


def frame_inputs(embedding: npt.NDArray[np.float32], frames: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return what the networks see of frames, float32 [frames, embed_dim + 3].

    Of the frame group its mean embedding, the log of its residues, and its length relative to the longest group in the
    chunk; and how many frames are open there.

    Args:
        embedding: float32 [frames, embed_dim].
        frames: of `describe_groups`, all those of their contigs.
    """
    residues = frames["group_residues"].to_numpy(np.float32)
    columns = [group_means(embedding, frames), np.log(residues), frames["frames_in_chunk"], frames["relative_length"]]
    return np.column_stack(columns).astype(np.float32, copy=False)


def standardise(
    inputs: npt.NDArray[np.float32], mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return inputs in units of their spread around the mean, cut to +-6."""
    return np.asarray(np.clip((inputs - mean) / scale, -CLAMP, CLAMP), np.float32)


def contig_inputs(total: Floats, frames: npt.ArrayLike, features: Floats) -> Floats:
    """Return what the regression sees of contigs, float64 [contigs, experts + features].

    Args:
        total: sum of the log-odds of the counted frames of every contig, [contigs, experts].
        frames: their number, [contigs].
        features: [contigs, features], of `contig_features`.
    """
    return np.hstack([total / np.sqrt(np.asarray(frames) + PRIOR_FRAMES)[:, None], features])


def save_classifier(classifier: Classifier, path: str | os.PathLike[str]) -> None:
    """Write a classifier as safetensors, its requirements in the metadata."""
    arrays = {
        field.name: getattr(classifier, field.name) for field in fields(classifier) if field.name != "requirements"
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays, as_metadata(classifier.requirements)))  # save_file's is for its owner alone


def load_classifier(path: str | os.PathLike[str]) -> Classifier:
    """Read a classifier.

    Raises:
        UserError: there is none, or it is damaged or of another kind.
    """
    requirements = read_requirements(path)
    try:
        with safe_open(path, framework="numpy") as file:
            classifier = Classifier(**{name: file.get_tensor(name) for name in file.keys()}, requirements=requirements)  # noqa: SIM118
    except (OSError, SafetensorError, TypeError) as error:
        raise UserError(f"{path}: a damaged classifier ({error}); copy it again") from None
    if len(classifier.contig_weight) != len(classifier.hidden_weight) + len(NAMES):
        raise UserError(f"{path}: a classifier over other features of contigs than this version's; train it anew")
    return classifier
