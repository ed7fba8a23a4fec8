"""Conversion of checkpoints in several layouts to the tensors and settings of `ESM` and `DNABERT`."""

import argparse
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from virnucpro.encoders.alphabet import VOCABULARY
from virnucpro.encoders.attention import sdpa_attention
from virnucpro.encoders.dnabert import DNABERT, EPSILON, DNABERTConfig
from virnucpro.encoders.esm import ESM, ESMConfig

# Tensors of a file, keyed by the tensor of the model that they form when joined along their first dimension.
Parts = dict[str, list[Tensor]]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Modules of `DNABERT`, and their names in Hugging Face's layout.
_DNABERT = {
    "embed_tokens": ["embeddings.word_embeddings"],
    "token_type": ["embeddings.token_type_embeddings"],
    "embedding_norm": ["embeddings.LayerNorm"],
    "qkv": ["attention.self.Wqkv"],
    "out": ["attention.output.dense"],
    "attention_norm": ["attention.output.LayerNorm"],
    "gated": ["mlp.gated_layers"],
    "fc2": ["mlp.wo"],
    "ffn_norm": ["mlp.layernorm"],
}
# Settings that `DNABERT` and `ESM` support. A setting that a file does not have is not checked.
_DNABERT_SETTINGS = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": EPSILON}

# Modules of an ESM-2, and their names in fair-esm's and in Hugging Face's layout.
_ESM2 = {
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
_ESM2_SETTINGS: tuple[dict[str, Any], dict[str, Any]] = (
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

# Modules of an ESM C, and their names in the layout of the package esm and in Hugging Face's layout.
_ESMC = {
    "embed_tokens": (["embed"], ["embed_tokens"]),
    "final_norm": (["transformer.norm"], ["norm"]),
    "attention_norm": (["attn.layernorm_qkv.0"], ["input_layernorm"]),
    "qkv": (["attn.layernorm_qkv.1"], [f"self_attn.{x}_proj" for x in "qkv"]),
    "qk_norm": (["attn.q_ln", "attn.k_ln"], ["self_attn.q_norm", "self_attn.k_norm"]),
    "out": (["attn.out_proj"], ["self_attn.o_proj"]),
    "ffn_norm": (["ffn.0"], ["post_attention_layernorm"]),
    "fc1": (["ffn.1"], ["mlp.gate_proj", "mlp.up_proj"]),
    "fc2": (["ffn.3"], ["mlp.down_proj"]),
}
_ESMC_LAYER = ("transformer.blocks", "layers")
_ESMC_HEAD = 64  # width of a head, where config.json does not give the number of heads
_ESMC_SETTINGS = {
    "model_type": "esmc",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rope_theta": 10000,
    "rope_type": "default",
}


def is_dnabert(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors belong to a DNABERT-S, by their names."""
    return any(key.endswith("attention.self.Wqkv.weight") for key in tensors)


def read_dnabert(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> tuple[DNABERTConfig, Parts]:
    """Return the sizes and the tensors of a DNABERT-S, from a file's tensors and the settings in config.json.

    Raises:
        ValueError: It is not a complete DNABERT-S; the text says why.
    """
    embedding = "embeddings.word_embeddings.weight"
    state = _without_prefix(tensors, embedding)
    if state is None:
        raise ValueError("it has no token embeddings")
    vocabulary, embed_dim = state[embedding].shape
    layers = _count_layers(state, _LAYER[1])
    heads = settings.get("num_attention_heads")
    if not isinstance(heads, int) or heads < 1 or embed_dim % heads:
        raise ValueError(f"it needs a config.json beside it with num_attention_heads, which is {heads}")
    gated = state.get("encoder.layer.0.mlp.gated_layers.weight")
    if gated is None:
        raise ValueError("it has no encoder.layer.0.mlp.gated_layers.weight")
    config = DNABERTConfig(layers, embed_dim, heads, gated.shape[0] // 2, vocabulary)
    found = {"num_hidden_layers": layers, "hidden_size": embed_dim, "intermediate_size": config.feed_forward}
    _check_settings(settings, _DNABERT_SETTINGS | found)
    types = "embeddings.token_type_embeddings.weight"
    if types in state:
        state[types] = state[types][:1]  # VirNucPro embeds single sequences: every token has the first type
    with torch.device("meta"):
        model = DNABERT(config)
    return config, _collect_parts(state, model, _DNABERT, _LAYER[1], {})


def read_esm2(
    loaded: Mapping[str, Any], tensors: Mapping[str, Tensor], settings: dict[str, Any]
) -> tuple[ESMConfig, Parts] | None:
    """Return the sizes and the tensors of an ESM-2, or None without token embeddings.

    Args:
        settings: config.json of a Hugging Face checkpoint.

    Raises:
        ValueError: It is not a complete ESM-2; the text says why.
    """
    layout, state = 0, _without_prefix(tensors, "embed_tokens.weight")
    if state is None:
        layout, state = 1, _without_prefix(tensors, "embeddings.word_embeddings.weight")
    if state is None:
        return None
    if layout == 0:
        cfg = loaded.get("cfg")
        namespace = cfg.get("model") if isinstance(cfg, Mapping) else None
        settings = vars(namespace) if isinstance(namespace, argparse.Namespace) else {}
    # Some releases of transformers 5 use the names of the first BERT for tensors of norms.
    state = {key.replace("Norm.gamma", "Norm.weight").replace("Norm.beta", "Norm.bias"): t for key, t in state.items()}
    inv_freq = next((value for key, value in state.items() if key.endswith("inv_freq")), None)
    config = _esm2_sizes(state, layout, settings, inv_freq)
    if inv_freq is None or inv_freq.dtype == torch.bfloat16:
        # The frequencies were not saved, or lost precision when the whole model was cast. The official files hold
        # frequencies rounded to FP16, with which ESM-2 was trained.
        inv_freq = (1 / 10000 ** (torch.arange(0, config.head_dim, 2) / config.head_dim)).half()
    with torch.device("meta"):
        model = ESM(config, sdpa_attention)
    modules = {module: names[layout] for module, names in _ESM2.items()}
    return config, _collect_parts(state, model, modules, _LAYER[layout], {"inv_freq": [inv_freq]})


def is_esmc(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors belong to an ESM C, by their names."""
    return any(key.endswith(("attn.q_ln.weight", "self_attn.q_norm.weight")) for key in tensors)


def read_esmc(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> tuple[ESMConfig, Parts] | None:
    """Return the sizes and the tensors of an ESM C, or None without token embeddings.

    Args:
        settings: config.json of a Hugging Face checkpoint.

    Raises:
        ValueError: It is not a complete ESM C; the text says why.
    """
    layout, state = 1, _without_prefix(tensors, "embed_tokens.weight")
    if state is None:
        layout, state, settings = 0, _without_prefix(tensors, "embed.weight"), {}
    if state is None:
        return None
    modules = {module: names[layout] for module, names in _ESMC.items()}
    embedding = f"{modules['embed_tokens'][0]}.weight"
    state[embedding] = state[embedding][:VOCABULARY]  # the other rows have no token
    layers, embed_dim = _count_layers(state, _ESMC_LAYER[layout]), state[embedding].shape[-1:].numel()
    heads = settings.get("num_attention_heads", embed_dim // _ESMC_HEAD)
    if not layers or not isinstance(heads, int) or heads < 1 or embed_dim % (2 * heads):
        raise ValueError(f"no model has {layers} layers, {embed_dim} numbers a token and {heads} heads")
    config = ESMConfig(layers, embed_dim, heads, "ESM C")
    sizes = {"num_hidden_layers": layers, "hidden_size": embed_dim, "intermediate_size": config.feed_forward}
    _check_settings({**settings, **(settings.get("rope_parameters") or {})}, _ESMC_SETTINGS | sizes)
    inv_freq = 1 / 10000 ** (torch.arange(0, config.head_dim, 2) / config.head_dim)
    with torch.device("meta"):
        model = ESM(config, sdpa_attention)
    return config, _collect_parts(state, model, modules, _ESMC_LAYER[layout], {"inv_freq": [inv_freq]})


def convert_parts(name: str, parts: list[Tensor], config: ESMConfig) -> list[Tensor]:
    """Return the tensors that form tensor `name` of an `ESM`, changed from how a file has them to how it uses them."""
    if ".qkv." in name or ".qk_norm." in name:
        queries, keys, *values = parts[0].chunk(3) if len(parts) == 1 else parts
        return [_pair(queries, config.heads), _pair(keys, config.heads), *values]
    if name.endswith(("out.weight", "fc2.weight")) and config.residual_scale != 1:
        return [part.float() / config.residual_scale for part in parts]
    return parts


def _pair(part: Tensor, heads: int) -> Tensor:
    """Put rows of queries or keys that are rotated together side by side; the file has them half a head apart."""
    return part.reshape(heads, 2, -1, *part.shape[1:]).transpose(1, 2).reshape(part.shape)


def _esm2_sizes(state: dict[str, Tensor], layout: int, settings: dict[str, Any], inv_freq: Tensor | None) -> ESMConfig:
    layers = _count_layers(state, _LAYER[layout])
    embed_dim = state[f"{_ESM2['embed_tokens'][layout][0]}.weight"].shape[-1:].numel()
    # There is a rotary frequency for every two numbers of a head.
    heads = settings.get(_SIZES[layout][2]) if inv_freq is None else embed_dim // max(2 * inv_freq.numel(), 1)
    if heads is None:
        raise ValueError("it has no rotary frequencies (as ESM-1b) and no config.json with its number of heads")
    if not layers or not isinstance(heads, int) or heads < 1 or embed_dim % (2 * heads):
        raise ValueError(f"no model has {layers} layers, {embed_dim} numbers a token and {heads} heads")
    found = dict(zip(_SIZES[layout], (layers, embed_dim, heads), strict=True))
    _check_settings(settings, _ESM2_SETTINGS[layout] | found)
    return ESMConfig(layers, embed_dim, heads)


def _collect_parts(
    state: Mapping[str, Tensor], model: nn.Module, modules: Mapping[str, list[str]], layer: str, parts: Parts
) -> Parts:
    """Return the tensors of a file that form each tensor of a model.

    Args:
        state: Tensors of the file.
        model: The model; only names and shapes of its tensors are used.
        modules: Names in the file of each module of the model.
        layer: Name of a layer in the file.
        parts: Tensors that need no conversion; kept as given.

    Raises:
        ValueError: A tensor is missing, does not hold floats, or has the wrong shape.
    """
    for name, whole in model.state_dict().items():
        if name not in parts:
            *of_layer, module, kind = name.split(".")
            before = f"{layer}.{of_layer[1]}." if of_layer else ""
            keys = [f"{before}{source}.{kind}" for source in modules[module]]
            if missing := [key for key in keys if key not in state]:
                raise ValueError(f"it has no {missing[0]}")
            parts[name] = [state[key] for key in keys]
        shape = (whole.shape[0] // len(parts[name]), *whole.shape[1:])
        for part in parts[name]:
            if part.shape != shape or part.dtype not in _FLOATS:
                raise ValueError(f"{name} is {part.dtype} of shape {tuple(part.shape)}, not floats of shape {shape}")
    return parts


def _without_prefix(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor] | None:
    """Return the tensors that share the prefix of tensor `name`, without the prefix; None if `name` is missing."""
    prefix = next((key.removesuffix(name) for key in tensors if key.endswith(name)), None)
    if prefix is None:
        return None
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _count_layers(state: Mapping[str, Tensor], layer: str) -> int:
    number = re.compile(re.escape(layer) + r"\.(\d+)\.")
    return len({match[1] for key in state if (match := number.match(key))})


def _check_settings(settings: Mapping[str, Any], needed: Mapping[str, Any]) -> None:
    """Raise a ValueError that names the first setting with an unsupported value."""
    for name, value in needed.items():
        if settings.get(name) not in (None, value):
            raise ValueError(f"its settings say {name} = {settings[name]!r}, but only {value!r} is supported")
