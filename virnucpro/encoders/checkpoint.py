"""ESM-2 checkpoints in fair-esm's and Hugging Face's layouts, read without executing pickles."""

import argparse
import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from virnucpro.encoders.attention import choose_attention, sdpa_attention
from virnucpro.encoders.esm2 import ESM2, ESM2Config
from virnucpro.encoders.linear import Linear
from virnucpro.encoders.memory import device_memory
from virnucpro.errors import UserError

# The tensors of a file that each tensor of `ESM2` is made of, to be joined along their first dimension.
Parts = dict[str, list[Tensor]]

# The modules of `ESM2`, and their names in fair-esm's and in Hugging Face's layout.
_MODULES = {
    "embed_tokens": (["embed_tokens"], ["embeddings.word_embeddings"]),
    "final_norm": (["emb_layer_norm_after"], ["encoder.emb_layer_norm_after"]),
    "attention_norm": (["self_attn_layer_norm"], ["attention.LayerNorm"]),
    "qkv": ([f"self_attn.{x}_proj" for x in "qkv"], [f"attention.self.{x}" for x in ("query", "key", "value")]),
    "out": (["self_attn.out_proj"], ["attention.output.dense"]),
    "ffn_norm": (["final_layer_norm"], ["LayerNorm"]),
    "fc1": (["fc1"], ["intermediate.dense"]),
    "fc2": (["fc2"], ["output.dense"]),
}
_LAYER = ("layers", "encoder.layer")
_SIZES = (
    ("encoder_layers", "encoder_embed_dim", "encoder_attention_heads"),
    ("num_hidden_layers", "hidden_size", "num_attention_heads"),
)
# What the settings of a model must say, if they say anything of it, for `ESM2` to compute what the model does.
_SETTINGS: tuple[dict[str, Any], dict[str, Any]] = (
    {"token_dropout": True},
    {
        "model_type": "esm",
        "position_embedding_type": "rotary",
        "rope_theta": 10000,
        "token_dropout": True,
        "emb_layer_norm_before": False,
        "layer_norm_eps": 1e-5,
    },
)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[ESM2Config, Parts]:
    """Read a checkpoint of either layout, and the config.json that Hugging Face puts beside it.

    Returns:
        The model's sizes, and the tensors that its parameters and buffers are made of: mapped from the file, not yet
        read.

    Raises:
        UserError: the file is missing, damaged, holds more than tensors, or is no whole ESM-2.
    """
    path = Path(path)
    loaded = _load(path)
    loaded = loaded if isinstance(loaded, Mapping) else {}
    state = loaded["model"] if isinstance(loaded.get("model"), Mapping) else loaded
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    for layout, (embedding,) in enumerate(_MODULES["embed_tokens"]):
        suffix = f"{embedding}.weight"
        prefix = next((key.removesuffix(suffix) for key in tensors if key.endswith(suffix)), None)
        if prefix is not None:
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            settings = _config_json(path) if layout else _fair_esm_settings(loaded)
            try:
                return _translate(own, layout, settings)
            except ValueError as error:
                raise UserError(f"{path}: not an ESM-2 that can be used: {error}; give another checkpoint") from None
    raise UserError(f"{path}: not an ESM-2: it has no token embeddings; give another checkpoint")


def load_esm2(path: str | os.PathLike[str], device: torch.device, dtype: torch.dtype) -> ESM2:
    """Return the model of a checkpoint, ready to run. Matrices are in `dtype`, norms and rotary frequencies in FP32.

    Raises:
        UserError: as `read_checkpoint`, or the device has no room for the weights.
    """
    config, parts = read_checkpoint(path)
    dtypes = {name: torch.float32 if "norm" in name or name == "inv_freq" else dtype for name in parts}
    needed = sum(part.numel() * dtypes[name].itemsize for name in parts for part in parts[name])
    _, available = device_memory(device)
    if needed > available:
        raise UserError(
            f"{path}: the weights take {needed / 1e9:.1f} GB in {str(dtype).removeprefix('torch.')}, and {device} has "
            f"{available / 1e9:.1f} GB free; choose a smaller model, half precision or a larger device"
        )
    with torch.device("meta"):
        model = ESM2(config, choose_attention(device, dtype))
    weights = {}
    for name, pieces in parts.items():  # one by one, so that no more than one tensor is held twice
        moved = [piece.to(device, dtypes[name]) for piece in pieces]
        if ".qkv." in name:
            moved[:2] = [_pair(part, config.heads) for part in moved[:2]]
        weights[name] = torch.cat(moved) if len(moved) > 1 else moved[0]
    model.load_state_dict(weights, assign=True)
    if device.type == "cpu":
        for module in model.modules():
            if isinstance(module, Linear):
                module.pack()
    return model.eval().requires_grad_(False)


def _pair(part: Tensor, heads: int) -> Tensor:
    """Put rows of queries or keys that are rotated together side by side; in the file they are half a head apart."""
    return part.reshape(heads, 2, -1, *part.shape[1:]).transpose(1, 2).reshape(part.shape)


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # fair-esm's files hold their settings as an argparse.Namespace: beside tensors the only class that is let in.
        with torch.serialization.safe_globals([argparse.Namespace]):
            # Files from before torch 1.6 are no zip archives and cannot be mapped.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged file raises almost anything; torch's message advises to load it unsafely
        if "allocate memory" in str(error):
            size = f"{path.stat().st_size / 1e9:.1f} GB"
            raise UserError(f"{path}: {size} do not fit this machine's memory; choose a smaller model") from None
        raise UserError(
            f"{path}: not loaded ({type(error).__name__}): it is no checkpoint, is damaged, or holds more than tensors "
            "and could run code; give another file"
        ) from None


def _fair_esm_settings(loaded: Mapping[str, Any]) -> dict[str, Any]:
    settings = loaded.get("cfg")
    settings = settings.get("model") if isinstance(settings, Mapping) else None
    return vars(settings) if isinstance(settings, argparse.Namespace) else {}


def _config_json(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint.with_name("config.json")
    try:
        settings = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}; copy it again, it belongs to {checkpoint.name}") from None
    return settings if isinstance(settings, dict) else {}


def _translate(state: dict[str, Tensor], layout: int, settings: dict[str, Any]) -> tuple[ESM2Config, Parts]:
    """Return the sizes and the parts of a model; a ValueError says why it is not an ESM-2."""
    # Some releases of transformers 5 name the tensors of norms as the first BERT did.
    state = {key.replace("Norm.gamma", "Norm.weight").replace("Norm.beta", "Norm.bias"): t for key, t in state.items()}
    inv_freq = next((value for key, value in state.items() if key.endswith("inv_freq")), None)
    config = _sizes(state, layout, settings, inv_freq)
    if inv_freq is None or inv_freq.dtype == torch.bfloat16:
        # Not saved, or made inexact when the whole model was cast. ESM-2 was trained with frequencies rounded to FP16,
        # and the official files hold these.
        inv_freq = (1 / 10000 ** (torch.arange(0, config.head_dim, 2) / config.head_dim)).half()
    parts = {"inv_freq": [inv_freq]}
    with torch.device("meta"):
        expected = ESM2(config, sdpa_attention).state_dict()
    for name, whole in expected.items():
        if name not in parts:
            *layer, module, kind = name.split(".")
            before = f"{_LAYER[layout]}.{layer[1]}." if layer else ""
            keys = [f"{before}{source}.{kind}" for source in _MODULES[module][layout]]
            if missing := [key for key in keys if key not in state]:
                raise ValueError(f"it has no {missing[0]}")
            parts[name] = [state[key] for key in keys]
        shape = (whole.shape[0] // len(parts[name]), *whole.shape[1:])
        for part in parts[name]:
            if part.shape != shape or part.dtype not in _FLOATS:
                raise ValueError(f"{name} is {part.dtype} of shape {tuple(part.shape)}, not floats of shape {shape}")
    return config, parts


def _sizes(state: dict[str, Tensor], layout: int, settings: dict[str, Any], inv_freq: Tensor | None) -> ESM2Config:
    number = re.compile(re.escape(_LAYER[layout]) + r"\.(\d+)\.")
    layers = len({match[1] for key in state if (match := number.match(key))})
    embed_dim = state[f"{_MODULES['embed_tokens'][layout][0]}.weight"].shape[-1:].numel()
    # There is a rotary frequency for every two numbers of a head.
    heads = settings.get(_SIZES[layout][2]) if inv_freq is None else embed_dim // max(2 * inv_freq.numel(), 1)
    if heads is None:
        raise ValueError("it has neither rotary frequencies (ESM-1b has none) nor a config.json that counts its heads")
    if not layers or not isinstance(heads, int) or heads < 1 or embed_dim % (2 * heads):
        raise ValueError(f"{layers} layers, {embed_dim} numbers a token and {heads} heads make no model")
    found = dict(zip(_SIZES[layout], (layers, embed_dim, heads), strict=True))
    for name, needed in (_SETTINGS[layout] | found).items():
        if settings.get(name) not in (None, needed):
            raise ValueError(f"its settings say {name} = {settings[name]!r} where it takes {needed!r}")
    return ESM2Config(layers, embed_dim, heads)
