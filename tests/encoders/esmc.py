"""A small random ESM C, and its representations by the package esm (written by make_esmc.py)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LAYERS, EMBED_DIM, HEADS = 3, 128, 2
PROTEINS = ["M", "MKTAYIAKQ", "ACDEFGHIKLMNPQRSTVWYXBUZO"]
EXPECTED = Path(__file__).with_name("esmc.npz")

# Names in the layout of the package esm, and in that of transformers; deliberately independent of the package's table.
HUGGING_FACE_NAMES = {
    "embed.": "embed_tokens.",
    "transformer.norm": "norm",
    "transformer.blocks": "layers",
    "attn.layernorm_qkv.0": "input_layernorm",
    "attn.q_ln": "self_attn.q_norm",
    "attn.k_ln": "self_attn.k_norm",
    "attn.out_proj": "self_attn.o_proj",
    "ffn.0": "post_attention_layernorm",
    "ffn.3": "mlp.down_proj",
}
FUSED = {
    "attn.layernorm_qkv.1": [f"self_attn.{name}_proj" for name in "qkv"],
    "ffn.1": ["mlp.gate_proj", "mlp.up_proj"],
}


def shapes(layers: int, embed_dim: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in the layout of the package esm, without the head."""
    d, wide = embed_dim, (8 * embed_dim // 3 + 255) // 256 * 256
    found: dict[str, tuple[int, ...]] = {"embed.weight": (64, d), "transformer.norm.weight": (d,)}
    for layer in range(layers):
        of_layer = {
            "attn.layernorm_qkv.0.weight": (d,),
            "attn.layernorm_qkv.0.bias": (d,),
            "attn.layernorm_qkv.1.weight": (3 * d, d),
            "attn.out_proj.weight": (d, d),
            "attn.q_ln.weight": (d,),
            "attn.k_ln.weight": (d,),
            "ffn.0.weight": (d,),
            "ffn.0.bias": (d,),
            "ffn.1.weight": (2 * wide, d),
            "ffn.3.weight": (d, wide),
        }
        found |= {f"transformer.blocks.{layer}.{name}": shape for name, shape in of_layer.items()}
    return found


def random_state(layers: int = LAYERS, embed_dim: int = EMBED_DIM, seed: int = 0) -> dict[str, Tensor]:
    """Return random weights in the layout of the package esm; numpy keeps the stream of RandomState forever."""
    rng = np.random.RandomState(seed)
    state = {}
    for name, shape in shapes(layers, embed_dim).items():
        numbers = rng.standard_normal(shape) * (0.3 if len(shape) == 1 else 1.5 * shape[1] ** -0.5)
        if len(shape) == 1 and name.endswith("weight"):
            numbers += 1
        state[name] = torch.from_numpy(numbers.astype(np.float32))
    return state


def to_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in the layout of transformers' EsmcForMaskedLM."""
    found = {}
    for name, value in state.items():
        for ours, theirs in HUGGING_FACE_NAMES.items():
            name = name.replace(ours, theirs)
        fused = next((part for part in FUSED if part in name), None)
        names = [name.replace(fused, part) for part in FUSED[fused]] if fused else [name]
        found |= {f"esmc.{name}": part.clone() for name, part in zip(names, value.chunk(len(names)), strict=True)}
    return found
