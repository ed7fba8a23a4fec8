"""The token budget: arithmetic on plain numbers."""

import itertools

import pytest
import torch

from virnucpro.data import calculate_token_budget
from virnucpro.data.budget import STEP, estimate_memory, token_budget
from virnucpro.errors import UserError

GB = 1_000_000_000
MODELS = {
    "8M": estimate_memory(layers=6, embed_dim=320, bytes_per_number=2),
    "3B": estimate_memory(layers=36, embed_dim=2560, bytes_per_number=2),
}


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA; tests/gpu asks it")
def test_without_cuda() -> None:
    assert calculate_token_budget() == 4096
    assert calculate_token_budget(device_id=0, memory=MODELS["8M"]) == 4096
