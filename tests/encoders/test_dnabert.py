"""DNABERT-S, packed, against a padded implementation in FP64."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from tests.encoders import dna
from virnucpro.encoders.checkpoint import load_encoder
from virnucpro.encoders.dnabert import DNABERT, alibi_slopes
from virnucpro.encoders.dnabert_tokenizer import DNABERTTokenizer
from virnucpro.encoders.runner import AsyncInferenceRunner
from virnucpro.errors import UserError

CPU = torch.device("cpu")
HEADS = 6
# Largest error and relative L2, as for ESM-2 (tests/encoders/test_esm2.py).
BOUNDS = {torch.float32: (5e-5, 1e-5), torch.bfloat16: (0.1, 0.05), torch.float16: (0.02, 0.01)}
MIXED = [1, 3000, 2, 499, 499, 3, 64, 300, 1200, 7]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    dna.save_dnabert(path, heads=HEADS)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def load(folder: Path, dtype: torch.dtype = torch.float32) -> DNABERT:
    model = load_encoder(folder / "model.safetensors", CPU, dtype)
    assert isinstance(model, DNABERT)
    return model


def packed(model: DNABERT, sequences: list[str]) -> npt.NDArray[np.float32]:
    bins = [[{"id": str(number), "sequence": sequence} for number, sequence in enumerate(sequences)]]
    return next(iter(AsyncInferenceRunner(model).run(bins))).embeddings


def sequences_of(lengths: list[int]) -> list[str]:
    return [dna.dna(length, number, "ACGTN" if number % 3 == 1 else "ACGT") for number, length in enumerate(lengths)]


def test_it_computes_what_the_padded_model_does(folder: Path, tokenizer: Tokenizer) -> None:
    sequences = sequences_of(MIXED)
    tokens = [tokenizer.encode(sequence).ids for sequence in sequences]
    expected = np.array(dna.padded_means(load_file(folder / "model.safetensors"), HEADS, tokens))
    for dtype, (most, relative) in BOUNDS.items():
        found = packed(load(folder, dtype), sequences)
        assert np.abs(found - expected).max() < most, dtype
        assert np.linalg.norm(found - expected) < relative * np.linalg.norm(expected), dtype


def test_tokens_are_those_of_the_models_own_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """The tokenizer does not pad or truncate, although its file enables both."""
    sequences = [*sequences_of(MIXED), "N", "NN", "ANNT"]
    expected = [tokenizer.encode(sequence).ids for sequence in sequences]
    assert max(map(len, expected)) > 50, "longer than the file would let them be"
    ids, lengths = DNABERTTokenizer(folder / "tokenizer.json")([""] * len(sequences), sequences)
    assert lengths == list(map(len, expected))
    assert ids.tolist() == list(chain.from_iterable(expected))
    assert expected[-2] == [1, 0, 0, 2], "an unknown letter is a token of its own"


def test_bin_mates_do_not_matter(folder: Path) -> None:
    model = load(folder)
    sequences = sequences_of([499, 30, 498, 498, 5, 1500])
    together = packed(model, sequences)
    for number, sequence in enumerate(sequences):
        np.testing.assert_allclose(together[number], packed(model, [sequence])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 6, 8, 12, 16])
def test_slopes(heads: int) -> None:
    assert alibi_slopes(heads) == pytest.approx(dna.slopes(heads))


def test_slopes_of_twelve_heads() -> None:
    assert alibi_slopes(12) == [2**-n for n in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]


def test_weights_in_a_bin_file_of_hugging_face(folder: Path, tmp_path: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    sequences = sequences_of([100, 3])
    found = load_encoder(tmp_path / "pytorch_model.bin", CPU, torch.float32)
    np.testing.assert_array_equal(packed(found, sequences), packed(load(folder), sequences))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": None}, "config.json beside it with num_attention_heads, which is None"),
        ({"num_attention_heads": 5}, "num_attention_heads, which is 5"),
        ({"hidden_act": "relu"}, "hidden_act = 'relu', but only 'gelu' is supported"),
        ({"num_hidden_layers": 3}, "num_hidden_layers = 3, but only 2 is supported"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((folder / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("missing", ["mlp.wo.bias", "mlp.gated_layers.weight", "attention.output.LayerNorm.weight"])
def test_a_model_without_a_tensor_is_refused(folder: Path, tmp_path: Path, missing: str) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in state.items() if not name.endswith(f"0.{missing}")},
        tmp_path / "model.safetensors",
    )
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(UserError, match=rf"not a DNABERT-S that can be used: it has no encoder.layer.0.{missing}"):
        load(tmp_path)


def test_another_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(UserError, match=r"tokenizer\.json: no such file; DNABERT-S needs its tokenizer"):
        load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="not a tokenizer"):
        load(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text()) | {"post_processor": None}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="not the tokenizer of a DNABERT-S"):
        load(tmp_path)
