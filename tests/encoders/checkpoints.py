"""Helpers of the tests of checkpoints: write files, and read them."""

import json
import random
from pathlib import Path
from typing import Any

import esm
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests import oracle
from virnucpro.data import VarlenCollator
from virnucpro.encoders.alphabet import RESIDUES, ESM2Tokenizer
from virnucpro.encoders.checkpoint import load_encoder
from virnucpro.errors import UserError

TOLERANCE = 1e-4
CPU = torch.device("cpu")
PROTEINS = ["".join(random.Random(n).choices(RESIDUES, k=n)) for n in (1, 150, 2, 40, 150)]
HUGGING_FACE_NAMES = {
    "embed_tokens": "embeddings.word_embeddings",
    "emb_layer_norm_after": "encoder.emb_layer_norm_after",
    "layers.": "encoder.layer.",
    "self_attn_layer_norm": "attention.LayerNorm",
    "self_attn.rot_emb": "attention.self.rotary_embeddings",
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "final_layer_norm": "LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}

State = dict[str, Any]


def to_hugging_face(name: str) -> str:
    for ours, theirs in HUGGING_FACE_NAMES.items():
        name = name.replace(ours, theirs)
    return name


def without_frequencies(state: State) -> State:
    return {key: value for key, value in state.items() if not key.endswith("inv_freq")}


def save(path: Path, state: State, config: State | None = None) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    if config is not None:
        path.with_name("config.json").write_text(json.dumps(config))
    return path


def representations(model: esm.ESM2) -> Tensor:
    """fair-esm's, [tokens, embed_dim] of all proteins in turn."""
    return torch.cat(oracle.representations(model, PROTEINS, torch.float32))


def error(path: Path, model: esm.ESM2) -> float:
    """The largest difference of a file's representations from fair-esm's."""
    batch = VarlenCollator(ESM2Tokenizer())([{"id": str(n), "sequence": protein} for n, protein in enumerate(PROTEINS)])
    with torch.inference_mode():
        found = load_encoder(path, CPU, torch.float32)(batch)
    expected = representations(model)
    return float((found[: len(expected)] - expected).abs().max())


def refusal(path: Path) -> str:
    """The one-line error for a file that is refused."""
    with pytest.raises(UserError) as caught:
        load_encoder(path, CPU, torch.float32)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path.parent) in message
    return message
