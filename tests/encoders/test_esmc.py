"""ESM C against the package esm, whose representations are in esmc.npz."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.encoders import esmc
from tests.encoders.checkpoints import refusal, save
from tests.encoders.mirror import Mirror
from tests.encoders.test_compiled import SHAPES, batch_of
from tests.encoders.test_esm2 import packed
from virnucpro.data import VarlenCollator
from virnucpro.encoders import weights
from virnucpro.encoders.attention import sdpa_attention
from virnucpro.encoders.checkpoint import load_encoder, read_checkpoint
from virnucpro.encoders.compiled import StaticForward
from virnucpro.encoders.esm import ESM, ESMConfig
from virnucpro.encoders.weights import find_weights
from virnucpro.pipeline.fetch_model import fetch_model

CPU = torch.device("cpu")
CONFIG = {
    "model_type": "esmc",
    "hidden_act": "silu",
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "attention_bias": False,
    "mlp_bias": False,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
}
# Largest absolute difference of layer 1 and of the last layer from the package esm in FP64, by precision. Layer 1
# has numbers up to 33, the last layer up to 4.
BOUNDS = {torch.float32: (1e-4, 2e-5), torch.bfloat16: (0.5, 0.1), torch.float16: (0.05, 0.02)}


@pytest.fixture
def official(tmp_path: Path) -> Path:
    return save(tmp_path / "esmc.pth", esmc.random_state())


def assert_official(path: Path, dtype: torch.dtype = torch.float32) -> None:
    model = load_encoder(path, CPU, dtype)
    expected = np.load(esmc.EXPECTED)
    batch = VarlenCollator(model.tokenizer)([{"id": protein, "sequence": protein} for protein in esmc.PROTEINS])
    tokens = len(expected["tokens"])
    np.testing.assert_array_equal(batch.input_ids[:tokens], expected["tokens"])
    with torch.inference_mode():
        found = model.representations(batch, [1, 3])
    for layer, name, bound in zip((1, 3), ("first", "last"), BOUNDS[dtype], strict=True):
        np.testing.assert_allclose(found[layer][:tokens], expected[name], rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
def test_the_format_of_the_package_esm(official: Path, dtype: torch.dtype) -> None:
    assert read_checkpoint(official)[0] == ESMConfig(3, 128, 2, "ESM C")
    assert_official(official, dtype)


def test_other_formats(tmp_path: Path) -> None:
    state = esmc.random_state()
    assert_official(save(tmp_path / "esmc.safetensors", state | {"sequence_head.0.bias": torch.zeros(128)}))
    renamed = esmc.to_hugging_face(state)
    assert_official(save(tmp_path / "model.safetensors", renamed))
    assert_official(save(tmp_path / "model.safetensors", renamed | {"lm_head.dense.bias": torch.zeros(128)}, CONFIG))
    without_prefix = {name.removeprefix("esmc."): tensor for name, tensor in renamed.items()}
    assert_official(save(tmp_path / "pytorch_model.bin", without_prefix, CONFIG))


def test_sizes_of_the_published_models() -> None:
    """2,560 and 3,072 are the shapes in the published files."""
    assert ESMConfig(30, 960, 15, "ESM C").feed_forward == 2560
    assert ESMConfig(36, 1152, 18, "ESM C").feed_forward == 3072
    assert ESMConfig(36, 1152, 18, "ESM C").residual_scale == 1


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.1)], ids=str)
def test_bin_mates_do_not_matter(
    official: Path, random_protein: Callable[[int], str], dtype: torch.dtype, bound: float
) -> None:
    model = load_encoder(official, CPU, dtype)
    proteins = [random_protein(length) for length in (1, 2, 1022, 50, 166, 166, 165, 300, 20)]
    random.Random(0).shuffle(proteins)
    for protein, in_bin in zip(proteins, packed(model, proteins), strict=True):
        torch.testing.assert_close(in_bin, packed(model, [protein])[0], rtol=0, atol=bound)


@pytest.mark.parametrize("hugging_face", [False, True])
def test_every_tensor_is_needed_in_its_shape(tmp_path: Path, hugging_face: bool) -> None:
    state = esmc.random_state(1, 64)
    state = esmc.to_hugging_face(state) if hugging_face else state
    assert read_checkpoint(save(tmp_path / "esmc.pth", state))[0].embed_dim == 64
    for name, tensor in state.items():
        short = tensor[:20] if "embed" in name else tensor[:-1]
        for changed in ({key: value for key, value in state.items() if key != name}, state | {name: short}):
            refusal(save(tmp_path / "esmc.pth", changed))


@pytest.mark.parametrize(
    "setting",
    [
        {"model_type": "llama"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"num_attention_heads": 3},
        {"num_hidden_layers": 4},
        {"intermediate_size": 341},
        {"rope_parameters": {"rope_theta": 500.0}},
    ],
)
def test_settings_of_another_model(tmp_path: Path, setting: dict[str, object]) -> None:
    path = save(tmp_path / "model.safetensors", esmc.to_hugging_face(esmc.random_state()), CONFIG | setting)
    assert "not an ESM C that can be used" in refusal(path)


def test_compiled() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = ESM(ESMConfig(3, 128, 2, "ESM C"), sdpa_attention).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.2)
    model.inv_freq.copy_(10_000 ** -(torch.arange(32) / 32))
    batch = batch_of(range(1, 5), SHAPES)
    with torch.inference_mode():
        expected = model.representations(batch, [1, 3])
    torch.testing.assert_close(StaticForward(model, SHAPES)(batch, [1, 3]), expected, rtol=0, atol=1e-5)


def test_fetched_by_name(
    tmp_path: Path, official: Path, mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.body = official.read_bytes()
    mirror.length = mirror.sent = len(mirror.body)
    mirror.served = "esmc_300m_2024_12_v0.pth"
    monkeypatch.setitem(weights.PINNED, "esmc_300m_2024_12", weights.file_digest(official))
    assert find_weights("esmc_300m_2024_12").path == cache / "esmc_300m_2024_12.pth"
    fetch_model("esmc_300m_2024_12", [-1], tmp_path / "model.json")
    card = json.loads((tmp_path / "model.json").read_text())
    assert (card["architecture"], card["heads"], card["feed_forward"]) == ("ESM C", 2, 512)
