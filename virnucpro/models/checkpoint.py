"""ESM-2 checkpoints: fair-esm's and Hugging Face's layouts, read without executing pickles."""

import argparse
import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from virnucpro.errors import UserError
from virnucpro.models.attention import choose_attention
from virnucpro.models.esm2 import ESM2, ESM2Config

Weights = dict[str, Tensor]

# Our name of every part of a layer, and what it is called in the two layouts; q, k and v are joined into one matrix.
_LAYER_PARTS = {
    "attention_norm": ("self_attn_layer_norm", "attention.LayerNorm"),
    "q": ("self_attn.q_proj", "attention.self.query"),
    "k": ("self_attn.k_proj", "attention.self.key"),
    "v": ("self_attn.v_proj", "attention.self.value"),
    "out": ("self_attn.out_proj", "attention.output.dense"),
    "ffn_norm": ("final_layer_norm", "LayerNorm"),
    "fc1": ("fc1", "intermediate.dense"),
    "fc2": ("fc2", "output.dense"),
}
_LAYOUTS = [
    # embedding, layer, final norm, rotary frequencies (one copy a layer)
    ("embed_tokens", "layers.{}.", "emb_layer_norm_after", "layers.0.self_attn.rot_emb.inv_freq"),
    (
        "embeddings.word_embeddings",
        "encoder.layer.{}.",
        "encoder.emb_layer_norm_after",
        "encoder.layer.0.attention.self.rotary_embeddings.inv_freq",
    ),
]
_PREFIX = re.compile(r"^(encoder\.sentence_encoder\.|encoder\.(?!layer\.|emb_layer_norm)|esm\.)")


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[ESM2Config, Weights]:
    """Read a checkpoint of either layout.

    Returns:
        The model's sizes, and its weights under the names of `ESM2`'s parameters and buffers.

    Raises:
        UserError: the file is missing, damaged, holds more than tensors, or is no ESM-2.
    """
    try:
        # fair-esm's files carry their settings as an argparse.Namespace: the one class let in beside tensors.
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable ESM-2 checkpoint: {reason}") from None
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else {}
    state = {_PREFIX.sub("", key): value for key, value in state.items() if isinstance(value, Tensor)}
    try:
        return _rename(state)
    except KeyError as error:
        raise UserError(f"{path}: not an ESM-2 checkpoint: it has no {error}") from None


def _rename(state: Weights) -> tuple[ESM2Config, Weights]:
    layout = 1 if "embeddings.word_embeddings.weight" in state else 0
    embedding, layer, final_norm, inv_freq = _LAYOUTS[layout]
    weights = {
        "embed_tokens.weight": state[f"{embedding}.weight"],
        "final_norm.weight": state[f"{final_norm}.weight"],
        "final_norm.bias": state[f"{final_norm}.bias"],
        "inv_freq": state[inv_freq],
    }
    layers = 0
    while f"{layer.format(layers)}{_LAYER_PARTS['fc1'][layout]}.weight" in state:
        for kind in ("weight", "bias"):
            parts = {
                part: state[f"{layer.format(layers)}{names[layout]}.{kind}"] for part, names in _LAYER_PARTS.items()
            }
            parts["qkv"] = torch.cat([parts.pop("q"), parts.pop("k"), parts.pop("v")])
            weights |= {f"layers.{layers}.{part}.{kind}": value for part, value in parts.items()}
        layers += 1
    embed_dim = weights["embed_tokens.weight"].shape[1]
    heads = embed_dim // (2 * len(weights["inv_freq"]))  # a rotary frequency turns two numbers of a head
    return ESM2Config(layers, embed_dim, heads), weights


def load_esm2(path: str | os.PathLike[str], device: torch.device, dtype: torch.dtype) -> ESM2:
    """Return the model of a checkpoint, ready to run: matrices in `dtype`, norms and rotary frequencies in FP32.

    Raises:
        UserError: as `read_checkpoint`, or the weights do not fit together.
    """
    config, weights = read_checkpoint(path)
    with torch.device("meta"):
        model = ESM2(config, choose_attention(device, dtype))
    for name, value in weights.items():
        in_fp32 = "norm" in name or name == "inv_freq"
        weights[name] = value.to(device, torch.float32 if in_fp32 else dtype)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise UserError(f"{path}: not an ESM-2 checkpoint: {str(error).splitlines()[-1].strip()}") from None
    return model.eval().requires_grad_(False)
