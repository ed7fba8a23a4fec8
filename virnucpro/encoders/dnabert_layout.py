"""The tensors and the settings of DNABERT-S in Hugging Face's layout, as `DNABERT` takes them."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from virnucpro.encoders.dnabert import DNABERT, EPSILON, DNABERTConfig
from virnucpro.encoders.parts import Parts, check_parts, check_settings, without_prefix

# The modules of `DNABERT`, and their names in the file.
_MODULES = {
    "embed_tokens": "embeddings.word_embeddings",
    "token_type": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    "qkv": "attention.self.Wqkv",
    "out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "gated": "mlp.gated_layers",
    "fc2": "mlp.wo",
    "ffn_norm": "mlp.layernorm",
}
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
# What config.json must say, if it says anything of it, for `DNABERT` to compute what the model does.
_SETTINGS = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": EPSILON}


def is_dnabert(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors are, by their names, those of a DNABERT-S."""
    return any(key.endswith(f"{_MODULES['qkv']}.weight") for key in tensors)


def read_dnabert(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> tuple[DNABERTConfig, Parts]:
    """Return the sizes of a DNABERT-S and the tensors that it is made of.

    Args:
        tensors: of the file, by their names.
        settings: of the config.json beside it.

    Raises:
        ValueError: it is no whole DNABERT-S; the text says why.
    """
    state = without_prefix(tensors, f"{_MODULES['embed_tokens']}.weight")
    if state is None:
        raise ValueError("it has no token embeddings")
    config = _sizes(state, settings)
    with torch.device("meta"):
        expected = DNABERT(config, None).state_dict()
    parts: Parts = {}
    for name in expected:
        *layer, module, kind = name.split(".")
        key = f"encoder.layer.{layer[1]}." if layer else ""
        key += f"{_MODULES[module]}.{kind}"
        if key not in state:
            raise ValueError(f"it has no {key}")
        # VirNucPro gives no second sequence, so that every token is of the first type.
        parts[name] = [state[key][:1] if module == "token_type" else state[key]]
    check_parts(parts, expected)
    return config, parts


def _sizes(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> DNABERTConfig:
    vocabulary, embed_dim = state[f"{_MODULES['embed_tokens']}.weight"].shape
    layers = len({match[1] for key in state if (match := _LAYER.match(key))})
    gated = state.get(f"encoder.layer.0.{_MODULES['gated']}.weight")
    heads = settings.get("num_attention_heads")
    if not isinstance(heads, int) or heads < 1 or embed_dim % heads:
        raise ValueError(f"it takes a config.json beside it that counts its heads (num_attention_heads: {heads})")
    if gated is None:
        raise ValueError(f"it has no encoder.layer.0.{_MODULES['gated']}.weight")
    config = DNABERTConfig(layers, embed_dim, heads, gated.shape[0] // 2, vocabulary)
    found = {"num_hidden_layers": layers, "hidden_size": embed_dim, "intermediate_size": config.feed_forward}
    check_settings(settings, _SETTINGS | found)
    return config
