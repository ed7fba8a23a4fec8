"""The classifiers of the original VirNucPro: reading their files safely, scores of frames, and calls of contigs.

A file such as 500_model.pth is a pickle of a whole torch module, which would run code if it were loaded as the original
does. Here torch's restricted unpickler reads it: it makes tensors, inert stand-ins for the classes that such a file
names, and nothing else.
"""

import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit, softmax

from virnucpro.calling.classifier import read_safetensors
from virnucpro.calling.requirements import VIRAL_FROM, Requirements, describe_published
from virnucpro.data.arrays import Floats, Rows
from virnucpro.data.tables import write_table
from virnucpro.errors import UserError

CHUNK_COLUMNS = ["tier", "chunks", "viral_chunks", "other_chunks", "unclear_chunks"]  # of contigs.tsv

# Of the rule for contigs, which is that of broadinstitute/viral-ngs (pull request 1078, classify/virnucpro.py).
CONFIDENT, OPPOSED, UNCLEAR = 0.8, 0.3, 0.7  # scores of a chunk
SURE = 0.6  # weighted difference from which a call is of high confidence
LEAST_SHARE = 0.1  # of the chunks that must be confident for a call of moderate or high confidence
FEW_CHUNKS = 5  # with fewer a call is one tier lower
TIERS = ["review", "low_confidence", "moderate_confidence", "high_confidence"]

_MODULES = ("linear.Linear", "batchnorm.BatchNorm1d", "dropout.Dropout", "activation.ReLU")  # of torch.nn.modules
_TENSORS = {
    "hidden_weight": "hidden_layer.weight",
    "hidden_bias": "hidden_layer.bias",
    "norm_mean": "bn1.running_mean",
    "norm_variance": "bn1.running_var",
    "norm_weight": "bn1.weight",
    "norm_bias": "bn1.bias",
    "output_weight": "output_layer.weight",
    "output_bias": "output_layer.bias",
}
EPSILON = 1e-5  # of torch's BatchNorm1d


@dataclass(frozen=True)
class VirNucPro:
    """A classifier of the original: a hidden layer, normalized, and two outputs, others and virus; arrays are float32.

    Attributes:
        hidden_weight, hidden_bias: [hidden, inputs] and [hidden].
        norm_mean, norm_variance, norm_weight, norm_bias: [hidden], of the normalization of a batch.
        output_weight, output_bias: [2, hidden] and [2].
        requirements: what it may be used with.
    """

    hidden_weight: Rows
    hidden_bias: Rows
    norm_mean: Rows
    norm_variance: Rows
    norm_weight: Rows
    norm_bias: Rows
    output_weight: Rows
    output_bias: Rows
    requirements: Requirements

    def scores(self, features: Rows) -> Rows:
        """Return the scores of frames for others and for virus, which add up to 1, float32 [frames, 2].

        The features are float32 [frames, inputs], of a frame's nucleotides and then of its residues.
        """
        hidden = features @ self.hidden_weight.T + self.hidden_bias
        hidden = (hidden - self.norm_mean) / np.sqrt(self.norm_variance + np.float32(EPSILON))
        hidden = np.maximum(hidden * self.norm_weight + self.norm_bias, 0)
        output = hidden @ self.output_weight.T + self.output_bias
        return np.asarray(softmax(output, axis=1))


def log_odds_of(scores: Rows) -> Floats:
    """Return the log-odds of frames for virus, float64 [frames], from their scores, float32 [frames, 2]."""
    return np.asarray(logit(np.clip(scores[:, 1].astype(np.float64), 1e-7, 1 - 1e-7)))


def chunk_scores(proteins: pd.DataFrame, scores: Rows) -> pd.DataFrame:
    """Return a row for each chunk with an open frame, in the order of the frames: its best scores over these.

    Columns: `contig`, `chunk`, the id of the chunk; `max_score_0` and `max_score_1`, for others and virus; `is_virus`.
    The scores of the frames are float32 [frames, 2].
    """
    chunk = proteins["protein"].str[:-2]  # an id ends in the name of a frame, such as F1
    frames = proteins[["contig"]].assign(chunk=chunk, max_score_0=scores[:, 0], max_score_1=scores[:, 1])
    best = frames.groupby(["contig", "chunk"], sort=False, as_index=False).max()
    return best.assign(is_virus=best["max_score_1"] >= best["max_score_0"])


def write_predictions(path: Path, frames: "pd.Series[str]", scores: Rows) -> None:
    """Write ids and scores of frames, float32 [frames, 2], as the original does in its prediction_results.txt."""
    prediction = np.where(scores[:, 1] > scores[:, 0], "virus", "others")
    others, virus = scores.T.astype(str)  # with the digits of single precision
    columns = {"Sequence_ID": frames, "Prediction": prediction, "score1": others, "score2": virus}
    write_table(pd.DataFrame(columns), path)


def write_chunks(path: Path, chunks: pd.DataFrame) -> None:
    """Write the table of `chunk_scores` as VirNucPro's GPU refactor does, in its prediction_results_highestscore.csv.

    Columns are separated by tabs.
    """
    scores = {name: chunks[name].to_numpy().astype(str) for name in ("max_score_0", "max_score_1")}
    write_table(pd.DataFrame({"Modified_ID": chunks["chunk"], "Is_Virus": chunks["is_virus"], **scores}), path)


def score_contigs(chunks: pd.DataFrame) -> pd.DataFrame:
    """Return the calls of contigs from their chunks, with the contig as index: `log_odds` and `CHUNK_COLUMNS`.

    A chunk's difference is its score for virus less that for others, and weighs as the root of its size. The mean of a
    contig's differences, d from -1 to 1, is written as log-odds, ln((1 + d) / (1 - d)): a contig is viral from d = 0.3
    on, cellular up to -0.3, and of high confidence beyond 0.6. It is of low confidence where no tenth of the chunks, or
    none, has a score over 0.8 for this and below 0.3 for the other; with fewer than five chunks one tier lower.
    """
    others, virus = chunks[["max_score_0", "max_score_1"]].to_numpy(np.float64).T
    difference = virus - others
    weight = np.sqrt(np.abs(difference))
    counted = chunks[["contig"]].assign(
        chunks=1,
        viral_chunks=(virus > CONFIDENT) & (others < OPPOSED),
        other_chunks=(others > CONFIDENT) & (virus < OPPOSED),
        unclear_chunks=(virus > UNCLEAR) & (others > UNCLEAR),
        weight=weight,
        weighted=weight * difference,
    )
    contigs = counted.groupby("contig", sort=False).sum()
    mean = (contigs["weighted"] / contigs["weight"]).where(contigs["weight"] > 0, 0.0)
    confident = contigs["viral_chunks"].where(mean > 0, contigs["other_chunks"])
    share = confident / (contigs["chunks"] - contigs["unclear_chunks"]).clip(lower=1)
    bounded = mean.clip(-1 + 1e-7, 1 - 1e-7)
    log_odds = 2 * np.arctanh(bounded)
    called = np.abs(log_odds.round(3)) >= VIRAL_FROM  # as the call, by the log-odds that are written
    tier = called.astype(int)
    tier += called & (confident >= 1) & (share >= LEAST_SHARE)
    tier += (tier == 2) & (mean.abs() > SURE)
    lower = (tier - 1).clip(0, 1).where(tier > 1, 0)  # high and moderate become low, low becomes review
    tier = tier.where(contigs["chunks"] >= FEW_CHUNKS, lower)
    contigs = contigs.assign(log_odds=log_odds, tier=[TIERS[number] for number in tier])
    return contigs[["log_odds", *CHUNK_COLUMNS]]


def read_pth(path: Path, chunk_size: int = 0) -> VirNucPro:
    """Read a classifier as the original saves it, the whole module or its tensors alone.

    The chunk size is that of a file that is none of the published ones, in bases.

    Raises:
        UserError: it names a class that no such file needs, or is something else.
    """
    import torch

    classes = ["__main__.MLPClassifier", *(f"torch.nn.modules.{name}" for name in _MODULES)]
    allowed: list[Any] = [(_StandIn, name) for name in classes]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings(action="ignore"):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"classifier {path}: {error.strerror or error}") from None
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError) as error:
        name = str(error).partition("GLOBAL ")[2].partition(" ")[0]  # the class or function that torch refused
        why = f"it names {name}, which no classifier of VirNucPro needs" if name else "it is damaged or no classifier"
        raise UserError(f"{path}: not loaded: {why}; give another file") from None
    found = _tensors(loaded)
    arrays = {}
    for name, key in _TENSORS.items():
        tensor = found.get(key)
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            raise UserError(f"{path}: not a classifier of VirNucPro: it has no {key}; give another file")
        arrays[name] = tensor.detach().to(torch.float32).numpy()
    return _checked(VirNucPro(**arrays, requirements=describe_published(path, chunk_size)), path)


class _StandIn:
    """In place of a module: what the file says of it, and no code."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _tensors(loaded: Any, prefix: str = "") -> dict[str, Any]:
    """Return the parameters and buffers of a module that was read as stand-ins, or those of a dictionary of tensors."""
    if isinstance(loaded, dict):
        return {f"{prefix}{name}": value for name, value in loaded.items()}
    state = vars(loaded) if isinstance(loaded, _StandIn) else {}
    parameters, buffers, modules = (state.get(name) or {} for name in ("_parameters", "_buffers", "_modules"))
    found = _tensors(parameters | buffers, prefix)
    for name, module in modules.items():
        found |= _tensors(module, f"{prefix}{name}.")
    return found


def _checked(classifier: VirNucPro, path: Path) -> VirNucPro:
    """Return the classifier if the shapes of its arrays fit together."""
    hidden, inputs = classifier.hidden_bias.size, classifier.hidden_weight.shape[-1]
    shapes = {"hidden_weight": (hidden, inputs), "output_weight": (2, hidden), "output_bias": (2,)}
    for name, tensor in _TENSORS.items():
        shape = getattr(classifier, name).shape
        if shape != shapes.get(name, (hidden,)):
            raise UserError(f"{path}: not a classifier of VirNucPro: {tensor} has shape {shape}")
    return classifier


def load_published(path: Path) -> VirNucPro:
    """Read a classifier of the original: its .pth, or the safetensors file that import-classifier wrote.

    Raises:
        UserError: the file is missing, damaged or something else.
    """
    if path.suffix == ".pth":
        return read_pth(path)
    return _checked(read_safetensors(path, VirNucPro), path)
