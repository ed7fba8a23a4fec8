"""Files that are damaged, could run code or are not an ESM-2: each is refused in one line."""

import os
import pickle
import re
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import esm
import pytest
import torch
from esm.model.esm1 import ProteinBertModel

from tests.encoders.checkpoints import State, refusal, save, without_frequencies


def pickled(state: State, path: Path) -> None:
    path.write_bytes(pickle.dumps(state, protocol=2))


def zipped(state: State, path: Path) -> None:
    torch.save(state, path)


def legacy(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


class Payload:
    """Creates a folder when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("name", ["esm2.pt", "pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize("write", [pickled, zipped, legacy])
def test_pickles_are_not_executed(
    tmp_path: Path, fair_esm_checkpoint: State, write: Callable[[State, Path], None], name: str
) -> None:
    made = tmp_path / "made by the payload"
    fair_esm_checkpoint["cfg"]["model"].payload = Payload(made)
    write(fair_esm_checkpoint, tmp_path / name)
    refusal(tmp_path / name)
    assert not made.exists()
    if write is not pickled:
        with (tmp_path / name).open("rb") as file:
            torch.load(file, weights_only=False)
        assert made.exists(), "the payload is a dud: it proves nothing"


def test_files_that_are_no_checkpoints(tmp_path: Path, fair_esm_checkpoint: State, hugging_face_state: State) -> None:
    whole = {
        ".pt": save(tmp_path / "whole.pt", fair_esm_checkpoint).read_bytes(),
        ".safetensors": save(tmp_path / "whole.safetensors", hugging_face_state).read_bytes(),
    }
    legacy(fair_esm_checkpoint, tmp_path / "legacy.bin")
    whole[".bin"] = (tmp_path / "legacy.bin").read_bytes()
    (tmp_path / "data.txt").write_text("no tensors")
    subprocess.run([sys.executable, "-m", "zipfile", "-c", "other.zip", "data.txt"], cwd=tmp_path, check=True)
    other = {b"", b"<html>Sign in</html>", b"\x80\x02.", (tmp_path / "other.zip").read_bytes(), bytes(100_000)}
    for suffix, content in whole.items():
        cut = {content[:length] for length in (7, 100, len(content) // 2, len(content) - 1)}
        for number, damaged in enumerate(other | cut):
            path = tmp_path / f"{number}{suffix}"
            path.write_bytes(damaged)
            refusal(path)
    refusal(tmp_path)
    refusal(tmp_path / "missing.pt")


@pytest.mark.parametrize("content", [[1, 2], {"model": [1]}, {}, {1: torch.zeros(2)}, torch.zeros(3), {"cfg": {}}])
def test_pickles_of_something_else(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "something.pt")
    refusal(tmp_path / "something.pt")


def test_esm1b(tmp_path: Path) -> None:
    sizes = {"layers": 2, "embed_dim": 64, "ffn_embed_dim": 256, "attention_heads": 4, "max_positions": 1024}
    settings = Namespace(arch="roberta_large", emb_layer_norm_before=True, token_dropout=True, **sizes)
    model = ProteinBertModel(settings, esm.Alphabet.from_architecture("ESM-1b"))
    state = {f"encoder.sentence_encoder.{key}": value for key, value in model.state_dict().items()}
    assert "ESM-1b" in refusal(save(tmp_path / "esm1b.pt", {"args": settings, "model": state}))


def test_bert(tmp_path: Path) -> None:
    state = {
        "bert.embeddings.word_embeddings.weight": torch.randn(30522, 64),
        "bert.embeddings.LayerNorm.gamma": torch.randn(64),
        "bert.encoder.layer.0.attention.self.query.weight": torch.randn(64, 64),
    }
    refusal(save(tmp_path / "pytorch_model.bin", state))
    config = {"model_type": "bert", "num_attention_heads": 4, "num_hidden_layers": 1, "hidden_size": 64}
    assert "model_type = 'bert'" in refusal(save(tmp_path / "pytorch_model.bin", state, config))


@pytest.mark.parametrize(
    "setting",
    [
        {"model_type": "bert"},
        {"position_embedding_type": "absolute"},
        {"token_dropout": False},
        {"emb_layer_norm_before": True},
        {"layer_norm_eps": 1e-12},
        {"rope_theta": 500.0},
        {"num_hidden_layers": 3},
        {"num_attention_heads": 2},
        {"num_attention_heads": 0},
        {"num_attention_heads": "4"},
        {"hidden_size": 32},
    ],
)
@pytest.mark.parametrize("frequencies", [True, False])
def test_settings_of_another_model(
    tmp_path: Path, hugging_face_state: State, hugging_face_config: State, setting: State, frequencies: bool
) -> None:
    state = hugging_face_state if frequencies else without_frequencies(hugging_face_state)
    # The frequencies give the number of heads. If they are not saved, a wrong but possible number is not detected.
    if frequencies or setting != {"num_attention_heads": 2}:
        refusal(save(tmp_path / "model.safetensors", state, hugging_face_config | setting))


def test_settings_that_cannot_be_read(tmp_path: Path, hugging_face_state: State) -> None:
    path = save(tmp_path / "model.safetensors", hugging_face_state)
    path.with_name("config.json").write_text('{"model_type": ')
    assert "config.json" in refusal(path)


def test_fair_esm_without_token_dropout(tmp_path: Path, fair_esm_checkpoint: State) -> None:
    fair_esm_checkpoint["cfg"]["model"].token_dropout = False
    assert "token_dropout" in refusal(save(tmp_path / "esm2.pt", fair_esm_checkpoint))


@pytest.mark.parametrize("layout", ["fair_esm", "hugging_face"])
def test_every_tensor_is_needed_in_its_shape(tmp_path: Path, request: pytest.FixtureRequest, layout: str) -> None:
    """A tensor is missing, is one number short, or has integers as in a quantized model."""
    if layout == "fair_esm":
        state = request.getfixturevalue("fair_esm_checkpoint")["model"]
    else:
        state = request.getfixturevalue("hugging_face_state")
    used = [key for key in state if not re.search("head|pooler|position|inv_freq", key)]
    assert len(used) == 3 + 2 * 16
    for key in used:
        without = {name: value for name, value in state.items() if name != key}
        for changed in (without, state | {key: state[key][:-1]}, state | {key: state[key].char()}):
            refusal(save(tmp_path / "esm2.pt", changed))


def test_a_missing_layer(tmp_path: Path, fair_esm_checkpoint: State) -> None:
    state = fair_esm_checkpoint["model"]
    for layer in ("layers.0.", "layers.1."):
        fair_esm_checkpoint["model"] = {key: value for key, value in state.items() if layer not in key}
        refusal(save(tmp_path / "esm2.pt", fair_esm_checkpoint))
