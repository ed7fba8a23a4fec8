"""The token budget: arithmetic on plain numbers."""

import itertools

import pytest
import torch

from virnucpro.data import calculate_token_budget
from virnucpro.data.packing import MAX_SEQUENCE_LENGTH, SPECIAL_TOKENS
from virnucpro.encoders.memory import (
    CPU_TOKEN_BUDGET,
    STEP,
    ModelMemory,
    estimate_esmc_memory,
    estimate_gated_memory,
    estimate_memory,
    token_budget,
    useful_budget,
)
from virnucpro.errors import UserError

GB = 1_000_000_000
SIZES = {"8M": (6, 320), "650M": (33, 1280), "3B": (36, 2560)}
MODELS = {name: estimate_memory(*sizes, bytes_per_number=2) for name, sizes in SIZES.items()}
SLOW = 25e9  # operations/s of a core


def test_every_card_and_model_has_its_own_budget() -> None:
    cards = [16 * GB, 24 * GB, 80 * GB]
    budgets = {name: [token_budget(card, memory) for card in cards] for name, memory in MODELS.items()}
    for row in budgets.values():
        assert row == sorted(set(row)), "more memory, more tokens"
    assert all(small > large for small, large in zip(budgets["8M"], budgets["3B"], strict=True))


@pytest.mark.parametrize(("card", "name"), list(itertools.product([16 * GB, 24 * GB, 80 * GB], MODELS)))
def test_the_budget_fits_and_is_all_that_fits(card: int, name: str) -> None:
    memory = MODELS[name]
    budget = token_budget(card, memory, margin=0.1)
    assert budget % STEP == 0
    assert memory.model_bytes + budget * memory.activation_bytes <= 0.9 * card
    assert memory.model_bytes + (budget + STEP) * memory.activation_bytes > 0.9 * card


def test_cards_of_one_kind_get_one_number() -> None:
    assert token_budget(24 * GB, MODELS["3B"]) == token_budget(24 * GB - 10_000_000, MODELS["3B"])


def test_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"the model \(5\.7 GB\) leaves no room .* 6\.0 GB"):
        token_budget(6 * GB, MODELS["3B"])


def test_estimates_are_near_the_published_sizes() -> None:
    assert MODELS["3B"].model_bytes / 2 == pytest.approx(2.84e9, rel=0.01)


@pytest.mark.parametrize(("name", "expected"), [("8M", 131_072), ("650M", 32_768), ("3B", 16_384)])
def test_a_gpu_gets_as_many_tokens_as_keep_it_busy(name: str, expected: int) -> None:
    """The budget is the same for all cards with enough memory, so they share one packing."""
    embed_dim = SIZES[name][1]
    for card in (8 * GB, 24 * GB, 80 * GB):
        weights = MODELS[name].model_bytes // 2
        assert useful_budget(token_budget(card, MODELS[name]), embed_dim, weights, on_gpu=True) == expected
    widest = 4 * embed_dim * expected
    assert widest < 2**31, "kernels index their arrays with 32 bits"


@pytest.mark.parametrize("fits", [1024, 1500, 2047, 5120, 9000])
def test_where_fewer_fit_the_budget_is_the_power_of_two_below(fits: int) -> None:
    budget = useful_budget(fits, 2560, 2_800_000_000, on_gpu=True)
    assert budget.bit_count() == 1
    assert budget <= fits < 2 * budget


def test_a_cpu_gets_no_more_than_make_it_faster() -> None:
    assert useful_budget(1_000_000, 320, 7_000_000, on_gpu=False) == CPU_TOKEN_BUDGET
    assert useful_budget(3072, 320, 7_000_000, on_gpu=False) == 2048


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        pytest.param(estimate_memory(6, 320, 4), 4096, id="8M"),
        pytest.param(estimate_memory(12, 480, 4), 4096, id="35M"),
        pytest.param(estimate_memory(30, 640, 4), 4096, id="150M"),
        pytest.param(estimate_memory(33, 1280, 4), 1024, id="650M"),
        pytest.param(estimate_esmc_memory(30, 960, 2560, 4), 2048, id="ESM C 300M"),
        pytest.param(estimate_esmc_memory(36, 1152, 3072, 4), 1024, id="ESM C 600M"),
        pytest.param(estimate_gated_memory(12, 768, 3072, 4), 4096, id="DNABERT-S"),
    ],
)
def test_a_bin_takes_less_than_a_minute_of_a_slow_core(memory: ModelMemory, expected: int) -> None:
    weights = memory.model_bytes // 4
    assert useful_budget(1_000_000, 320, weights, on_gpu=False) == expected
    assert 2 * weights * expected / SLOW < 60


def test_the_longest_protein_fits_a_bin_of_3b_on_a_cpu() -> None:
    """A bin then takes four minutes of a slow core, and one minute of a fast one."""
    weights = MODELS["3B"].model_bytes // 2
    assert useful_budget(1_000_000, 2560, weights, on_gpu=False) == MAX_SEQUENCE_LENGTH + SPECIAL_TOKENS
    assert 2 * weights * 1024 / (4 * SLOW) < 60


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA; tests/gpu asks it")
def test_without_cuda() -> None:
    assert calculate_token_budget() == 4096
    assert calculate_token_budget(device_id=0, memory=MODELS["8M"]) == 4096
