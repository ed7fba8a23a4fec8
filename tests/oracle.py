"""fair-esm as the oracle: its own model class with the same weights, in a given precision."""

import copy
import re
from pathlib import Path

import esm
import torch
from torch import Tensor

# Hugging Face's and fair-esm's names of the parts of a layer; deliberately independent of the package's table.
HF_PARTS = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.self.rotary_embeddings": "self_attn.rot_emb",
    "attention.output.dense": "self_attn.out_proj",
    "attention.LayerNorm": "self_attn_layer_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "LayerNorm": "final_layer_norm",
}


def random_model(layers: int = 3, embed_dim: int = 64, heads: int = 4, seed: int = 0) -> esm.ESM2:
    """Return fair-esm's model with random weights."""
    torch.manual_seed(seed)
    return esm.ESM2(num_layers=layers, embed_dim=embed_dim, attention_heads=heads).eval()


def save_as_fair_esm(model: esm.ESM2, path: Path) -> Path:
    """Write a model's weights in the layout of fair-esm's checkpoints."""
    prefix = "encoder.sentence_encoder."
    torch.save({"model": {prefix + name: value for name, value in model.state_dict().items()}}, path)
    return path


def from_hugging_face(path: Path, layers: int, embed_dim: int, heads: int) -> esm.ESM2:
    """Return fair-esm's model with the weights of a file in Hugging Face's layout."""
    state = {}
    for name, value in torch.load(path, weights_only=True).items():
        name = name.removeprefix("esm.").replace("embeddings.word_embeddings", "embed_tokens")
        name = name.replace("encoder.emb_layer_norm_after", "emb_layer_norm_after")
        if part := re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(\w+)", name):
            name = f"layers.{part[1]}.{HF_PARTS[part[2]]}.{part[3]}"
        state[name] = value
    model = esm.ESM2(num_layers=layers, embed_dim=embed_dim, attention_heads=heads)
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert all(name.startswith(("lm_head.", "contact_head.")) for name in missing), missing
    return model.eval()


@torch.inference_mode()
def representations(
    model: esm.ESM2, sequences: list[str], dtype: torch.dtype, layer: int | None = None
) -> list[Tensor]:
    """Return a layer of every token, BOS and EOS included, one sequence at a time, FP64 [tokens, embed_dim]."""
    convert = model.alphabet.get_batch_converter()
    model = copy.deepcopy(model).to(dtype)
    layer = model.num_layers if layer is None else layer
    tokens = (convert([("", sequence)])[2] for sequence in sequences)
    return [model(row, repr_layers=[layer])["representations"][layer][0].double() for row in tokens]
