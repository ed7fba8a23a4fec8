"""Classifiers of the original VirNucPro: safe reading of their files, scores of frames, and calls of contigs.

A file such as 500_model.pth is a pickle of a torch module. The original's way to load it can run code from the file.
Here torch's restricted unpickler reads it: it creates only tensors, and inert objects in place of the file's classes.
"""

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

CHUNK_COLUMNS = ["tier", "chunks", "viral_chunks", "other_chunks", "unclear_chunks"]  # further columns of contigs.tsv

# Thresholds of the rule for contigs in broadinstitute/viral-ngs (pull request 1078, classify/virnucpro.py).
CONFIDENT, OPPOSED, UNCLEAR = 0.8, 0.3, 0.7  # scores of a chunk
SURE = 0.6  # weighted difference above which confidence is high
LEAST_SHARE = 0.1  # share of confident chunks that moderate or high confidence needs
FEW_CHUNKS = 5  # with fewer chunks a call is one tier lower
TIERS = ["review", "low_confidence", "moderate_confidence", "high_confidence"]

_MODULES = ("linear.Linear", "batchnorm.BatchNorm1d", "dropout.Dropout", "activation.ReLU")  # in torch.nn.modules
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
EPSILON = 1e-5  # default of torch's BatchNorm1d


@dataclass(frozen=True)
class VirNucPro:
    """A classifier of the original: a normalized hidden layer and two outputs, others and virus; arrays are float32.

    Attributes:
        hidden_weight, hidden_bias: Hidden layer, [hidden, inputs] and [hidden].
        norm_mean, norm_variance, norm_weight, norm_bias: Batch normalization, [hidden].
        output_weight, output_bias: Output layer, [2, hidden] and [2].
        requirements: Embeddings and contigs that it can be used for.
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

        The features are float32 [frames, inputs]: embeddings of a frame's nucleotides, then of its residues.
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
    """Return the best scores of each chunk over its open frames, one row per chunk in the order of the frames.

    Columns: `contig`; `chunk`, the id of the chunk; `max_score_0` and `max_score_1`, for others and virus; `is_virus`.
    The scores of the frames are float32 [frames, 2].
    """
    chunk = proteins["protein"].str[:-2]  # an id ends in the name of a frame, such as F1
    frames = proteins[["contig"]].assign(chunk=chunk, max_score_0=scores[:, 0], max_score_1=scores[:, 1])
    best = frames.groupby(["contig", "chunk"], sort=False, as_index=False).max()
    return best.assign(is_virus=best["max_score_1"] >= best["max_score_0"])


def write_predictions(path: Path, frames: "pd.Series[str]", scores: Rows) -> None:
    """Write ids and scores of frames, float32 [frames, 2], in the format of the original's prediction_results.txt."""
    prediction = np.where(scores[:, 1] > scores[:, 0], "virus", "others")
    others, virus = scores.T.astype(str)  # digits of single precision
    columns = {"Sequence_ID": frames, "Prediction": prediction, "score1": others, "score2": virus}
    write_table(pd.DataFrame(columns), path)


def write_chunks(path: Path, chunks: pd.DataFrame) -> None:
    """Write the table of `chunk_scores`, tab-separated, as prediction_results_highestscore.csv of the GPU refactor."""
    scores = {name: chunks[name].to_numpy().astype(str) for name in ("max_score_0", "max_score_1")}
    write_table(pd.DataFrame({"Modified_ID": chunks["chunk"], "Is_Virus": chunks["is_virus"], **scores}), path)


def score_contigs(chunks: pd.DataFrame) -> pd.DataFrame:
    """Return `log_odds` and `CHUNK_COLUMNS` of contigs from their chunks, with the contig as index.

    The difference of a chunk is its score for virus minus its score for others. A contig has the mean difference d of
    its chunks, weighted by the square root of their absolute difference. Its log-odds are ln((1 + d) / (1 - d)). It is
    viral for d >= 0.3 and cellular for d <= -0.3.

    A chunk is confident if its score is over 0.8 for the contig's call and below 0.3 for the other one. Confidence is
    moderate if at least one chunk and a tenth of the clear chunks are confident, and then high if abs(d) > 0.6. Else it
    is low. With fewer than five chunks it is one tier lower.
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
    called = np.abs(log_odds.round(3)) >= VIRAL_FROM  # rounded as written, so that tier and call agree
    tier = called.astype(int)
    tier += called & (confident >= 1) & (share >= LEAST_SHARE)
    tier += (tier == 2) & (mean.abs() > SURE)
    lower = (tier - 1).clip(0, 1).where(tier > 1, 0)  # high and moderate become low, low becomes review
    tier = tier.where(contigs["chunks"] >= FEW_CHUNKS, lower)
    contigs = contigs.assign(log_odds=log_odds, tier=[TIERS[number] for number in tier])
    return contigs[["log_odds", *CHUNK_COLUMNS]]


def read_pth(path: Path, chunk_size: int = 0) -> VirNucPro:
    """Read a classifier that the original saved, as a whole module or as tensors alone.

    `chunk_size`, in bases, is used for a file that is not one of the published ones.

    Raises:
        UserError: The file names an unexpected class, or is not a classifier.
    """
    import torch

    classes = ["__main__.MLPClassifier", *(f"torch.nn.modules.{name}" for name in _MODULES)]
    allowed: list[Any] = [(_StandIn, name) for name in classes]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings(action="ignore"):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"classifier {path}: {error.strerror or error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        name = str(error).partition("GLOBAL ")[2].partition(" ")[0]  # the class or function that torch refused
        why = f"it names {name}, which no classifier of VirNucPro needs" if name else "damaged or not a classifier"
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
    """Inert object in place of a module: it has the attributes from the file, and no code."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _tensors(loaded: Any, prefix: str = "") -> dict[str, Any]:
    """Return the tensors of a module that was read as `_StandIn`s, or of a dictionary, by their names."""
    if isinstance(loaded, dict):
        return {f"{prefix}{name}": value for name, value in loaded.items()}
    state = vars(loaded) if isinstance(loaded, _StandIn) else {}
    parameters, buffers, modules = (state.get(name) or {} for name in ("_parameters", "_buffers", "_modules"))
    found = _tensors(parameters | buffers, prefix)
    for name, module in modules.items():
        found |= _tensors(module, f"{prefix}{name}.")
    return found


def _checked(classifier: VirNucPro, path: Path) -> VirNucPro:
    """Return the classifier after checking that the shapes of its arrays are consistent."""
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
        UserError: The file is missing, damaged or not a classifier.
    """
    if path.suffix == ".pth":
        return read_pth(path)
    return _checked(read_safetensors(path, VirNucPro), path)
