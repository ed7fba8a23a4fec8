"""The tensors and the settings of ESM-2 in fair-esm's and Hugging Face's layouts, as `ESM2` takes them."""

import argparse
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from virnucpro.encoders.attention import sdpa_attention
from virnucpro.encoders.esm2 import ESM2, ESM2Config
from virnucpro.encoders.parts import Parts, check_parts, check_settings, without_prefix

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


def read_esm2(
    loaded: Mapping[str, Any], tensors: Mapping[str, Tensor], settings: dict[str, Any]
) -> tuple[ESM2Config, Parts] | None:
    """Return the sizes of an ESM-2 and the tensors that it is made of, or None where there are no token embeddings.

    Args:
        loaded: all that the file holds.
        tensors: those of the model, by their names.
        settings: of the config.json beside a file of Hugging Face's.

    Raises:
        ValueError: it is no whole ESM-2; the text says why.
    """
    for layout, (embedding,) in enumerate(_MODULES["embed_tokens"]):
        own = without_prefix(tensors, f"{embedding}.weight")
        if own is not None:
            return _translate(own, layout, settings if layout else _fair_esm_settings(loaded))
    return None


def _fair_esm_settings(loaded: Mapping[str, Any]) -> dict[str, Any]:
    settings = loaded.get("cfg")
    settings = settings.get("model") if isinstance(settings, Mapping) else None
    return vars(settings) if isinstance(settings, argparse.Namespace) else {}


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
    for name in expected:
        if name not in parts:
            *layer, module, kind = name.split(".")
            before = f"{_LAYER[layout]}.{layer[1]}." if layer else ""
            keys = [f"{before}{source}.{kind}" for source in _MODULES[module][layout]]
            if missing := [key for key in keys if key not in state]:
                raise ValueError(f"it has no {missing[0]}")
            parts[name] = [state[key] for key in keys]
    check_parts(parts, expected)
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
    check_settings(settings, _SETTINGS[layout] | found)
    return ESM2Config(layers, embed_dim, heads)
