"""Checkpoints of every layout give fair-esm's representations."""

import json
import re
from copy import deepcopy
from pathlib import Path

import esm
import pytest
import torch

from tests.encoders.checkpoints import (
    TOLERANCE,
    State,
    error,
    refusal,
    representations,
    save,
    without_frequencies,
)
from virnucpro.encoders.checkpoint import read_checkpoint


def test_official(tmp_path: Path, fair_esm: esm.ESM2, fair_esm_checkpoint: State) -> None:
    path = save(tmp_path / "esm2.pt", fair_esm_checkpoint)
    config, _ = read_checkpoint(path)
    assert (config.layers, config.embed_dim, config.heads) == (2, 64, 4)
    assert error(path, fair_esm) < TOLERANCE


def test_official_in_half_precision(tmp_path: Path, fair_esm: esm.ESM2, fair_esm_checkpoint: State) -> None:
    fair_esm_checkpoint["model"] = {key: value.half() for key, value in fair_esm_checkpoint["model"].items()}
    assert error(save(tmp_path / "esm2.pt", fair_esm_checkpoint), fair_esm) < TOLERANCE


def test_format_before_zip(tmp_path: Path, fair_esm: esm.ESM2, fair_esm_checkpoint: State) -> None:
    torch.save(fair_esm_checkpoint, tmp_path / "esm2.pt", _use_new_zipfile_serialization=False)
    assert error(tmp_path / "esm2.pt", fair_esm) < TOLERANCE


def test_bare_state_of_fair_esm(tmp_path: Path, fair_esm: esm.ESM2) -> None:
    assert error(save(tmp_path / "esm2.pt", fair_esm.state_dict()), fair_esm) < TOLERANCE


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "esm2.pt"])
def test_hugging_face(tmp_path: Path, fair_esm: esm.ESM2, hugging_face_state: State, name: str) -> None:
    assert error(save(tmp_path / name, hugging_face_state), fair_esm) < TOLERANCE


def test_hugging_face_with_heads(
    tmp_path: Path, fair_esm: esm.ESM2, hugging_face_state: State, hugging_face_config: State
) -> None:
    state = {f"esm.{key}": value for key, value in hugging_face_state.items()}
    state |= {"lm_head.dense.weight": torch.randn(64, 64), "classifier.dense.weight": torch.randn(64, 64)}
    assert error(save(tmp_path / "model.safetensors", state, hugging_face_config), fair_esm) < TOLERANCE


@pytest.mark.parametrize(
    "key", ["esm.encoder.layer.*.attention.self.rotary_embeddings.inv_freq", "esm.rotary_embeddings.inv_freq"]
)
def test_transformers_5(tmp_path: Path, fair_esm: esm.ESM2, hugging_face_state: State, key: str) -> None:
    """As 5.13 and 5.23 save a new model: one rotary buffer, under a pattern, and norms by BERT's first names."""
    state = {f"esm.{name}": value for name, value in without_frequencies(hugging_face_state).items()}
    state = {re.sub("LayerNorm.weight$", "LayerNorm.gamma", name): value for name, value in state.items()}
    state = {re.sub("LayerNorm.bias$", "LayerNorm.beta", name): value for name, value in state.items()}
    state[key] = fair_esm.layers[0].self_attn.rot_emb.inv_freq
    assert error(save(tmp_path / "model.safetensors", state), fair_esm) < TOLERANCE


def test_frequencies_that_are_not_saved(
    tmp_path: Path, fair_esm: esm.ESM2, hugging_face_state: State, hugging_face_config: State
) -> None:
    path = save(tmp_path / "model.safetensors", without_frequencies(hugging_face_state))
    assert "config.json" in refusal(path)
    path.with_name("config.json").write_text(json.dumps(hugging_face_config))
    assert error(path, fair_esm) < TOLERANCE


def test_frequencies_of_the_file_are_used(tmp_path: Path, fair_esm: esm.ESM2, hugging_face_state: State) -> None:
    exact = deepcopy(fair_esm)
    for number, layer in enumerate(exact.layers):
        layer.self_attn.rot_emb.inv_freq = 1 / 10000 ** (torch.arange(0, 16, 2) / 16)
        key = f"encoder.layer.{number}.attention.self.rotary_embeddings.inv_freq"
        hugging_face_state[key] = layer.self_attn.rot_emb.inv_freq.clone()
    rounding = (representations(exact) - representations(fair_esm)).abs().max()
    assert rounding > 10 * TOLERANCE, "these proteins cannot tell rounded from exact frequencies"
    assert error(save(tmp_path / "esm2.pt", exact.state_dict()), exact) < TOLERANCE
    assert error(save(tmp_path / "model.safetensors", hugging_face_state), exact) < TOLERANCE


def test_frequencies_spoiled_by_a_cast(tmp_path: Path, fair_esm: esm.ESM2, hugging_face_state: State) -> None:
    path = save(tmp_path / "model.safetensors", {key: value.bfloat16() for key, value in hugging_face_state.items()})
    cast = deepcopy(fair_esm).bfloat16().float()
    for layer, original in zip(cast.layers, fair_esm.layers, strict=True):
        layer.self_attn.rot_emb.inv_freq = original.self_attn.rot_emb.inv_freq
    assert error(path, cast) < TOLERANCE


def test_settings_that_say_nothing(
    tmp_path: Path, fair_esm: esm.ESM2, hugging_face_state: State, hugging_face_config: State
) -> None:
    config = hugging_face_config | {"emb_layer_norm_before": None}
    assert error(save(tmp_path / "model.safetensors", hugging_face_state, config), fair_esm) < TOLERANCE
