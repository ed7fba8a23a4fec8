"""Checkpoints of every layout give fair-esm's representations; whatever else is refused, in one line."""

import json
import os
import pickle
import random
import re
import struct
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import esm
import pytest
import torch
from esm.model.esm1 import ProteinBertModel
from safetensors.torch import save_file
from torch import Tensor

from tests import oracle
from tests.encoders.conftest import to_hugging_face
from virnucpro.data.collation import RESIDUES, VarlenCollator
from virnucpro.encoders.checkpoint import load_esm2, read_checkpoint
from virnucpro.errors import UserError

TOLERANCE = 1e-4
CPU = torch.device("cpu")
PROTEINS = ["".join(random.Random(n).choices(RESIDUES, k=n)) for n in (1, 150, 2, 40, 150)]

State = dict[str, Any]


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
    batch = VarlenCollator()([{"id": str(n), "sequence": protein} for n, protein in enumerate(PROTEINS)])
    with torch.inference_mode():
        found = load_esm2(path, CPU, torch.float32)(batch)
    expected = representations(model)
    return float((found[: len(expected)] - expected).abs().max())


def refusal(path: Path) -> str:
    """The one line that says why a file is not loaded."""
    with pytest.raises(UserError) as caught:
        load_esm2(path, CPU, torch.float32)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path.parent) in message
    return message


def without_frequencies(state: State) -> State:
    return {key: value for key, value in state.items() if not key.endswith("inv_freq")}


# Files that must load.


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


# Files that must not.


def pickled(state: State, path: Path) -> None:
    path.write_bytes(pickle.dumps(state, protocol=2))


def zipped(state: State, path: Path) -> None:
    torch.save(state, path)


def legacy(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


class Payload:
    """Unpickled, it makes a folder."""

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
    # Heads are counted by the frequencies: where these are not saved, a wrong but possible number cannot be noticed.
    if frequencies or setting != {"num_attention_heads": 2}:
        refusal(save(tmp_path / "model.safetensors", state, hugging_face_config | setting))


def test_settings_that_say_nothing(
    tmp_path: Path, fair_esm: esm.ESM2, hugging_face_state: State, hugging_face_config: State
) -> None:
    config = hugging_face_config | {"emb_layer_norm_before": None}
    assert error(save(tmp_path / "model.safetensors", hugging_face_state, config), fair_esm) < TOLERANCE


def test_settings_that_cannot_be_read(tmp_path: Path, hugging_face_state: State) -> None:
    path = save(tmp_path / "model.safetensors", hugging_face_state)
    path.with_name("config.json").write_text('{"model_type": ')
    assert "config.json" in refusal(path)


def test_fair_esm_without_token_dropout(tmp_path: Path, fair_esm_checkpoint: State) -> None:
    fair_esm_checkpoint["cfg"]["model"].token_dropout = False
    assert "token_dropout" in refusal(save(tmp_path / "esm2.pt", fair_esm_checkpoint))


@pytest.mark.parametrize("layout", ["fair_esm", "hugging_face"])
def test_every_tensor_is_needed_in_its_shape(tmp_path: Path, request: pytest.FixtureRequest, layout: str) -> None:
    """Without one, with one number less, and as integers, as a quantised model would have it."""
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


# Memory, in a process of its own.

LOAD = """
import resource, sys, torch
from virnucpro.errors import UserError
from virnucpro.encoders.checkpoint import load_esm2
def load():
    return load_esm2(sys.argv[1], torch.device("cpu"), torch.float32)
def anonymous():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]),) * 2)
try:
    load()  # what torch itself takes at its first use is not the model's
    before = anonymous()
    model = load()
    print(anonymous() - before)
except UserError as error:
    print(error)
"""


def load_elsewhere(path: Path) -> str:
    """Load a file, mapped, with at most 6 GB more, and return the bytes that the model takes, or the refusal."""
    limit = path.stat().st_size + (6 << 30)
    done = subprocess.run([sys.executable, "-c", LOAD, path, str(limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("share", "reason"),
    [(0.7, r"the weights take \d+\.\d GB in float32, and cpu has \d+\.\d GB free"), (2, "this machine's memory")],
)
def test_a_model_that_does_not_fit(tmp_path: Path, share: float, reason: str) -> None:
    """Layers as wide as 15B's, in half precision, as many as fill a share of this machine's memory; the file is a hole.

    A file larger than the memory cannot even be mapped.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    layers = int(share * memory / (12 * 5120**2 * 2))
    header: State = {}
    end = 0
    for key, value in hugging_face_shapes(layers, embed_dim=5120, heads=40).items():
        start, end = end, end + 2 * value.numel()
        header[key] = {"dtype": "F16", "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + end)
    assert re.search(reason, load_elsewhere(path))


def hugging_face_shapes(layers: int, embed_dim: int, heads: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        state = esm.ESM2(layers, embed_dim, heads).state_dict()
    return {to_hugging_face(key): value for key, value in state.items() if "head" not in key}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_are_held_once(tmp_path: Path, suffix: str) -> None:
    """They are laid out anew for the kernels of a CPU, one by one; the file's pages are no memory of the process."""
    state = {key: torch.ones(value.shape) for key, value in hugging_face_shapes(8, 640, 20).items()}
    path = save(tmp_path / f"esm2{suffix}", state)
    assert float(load_elsewhere(path)) < 1.4 * path.stat().st_size
