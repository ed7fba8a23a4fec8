"""Model and device of a run: model.json and token_budget.json."""

from pathlib import Path
from typing import Literal, NotRequired

from pydantic import PositiveInt, TypeAdapter
from typing_extensions import TypedDict  # pydantic cannot use typing.TypedDict before Python 3.12

from virnucpro.data.checked import Name, Precision, Sha256, read_json

Architecture = Literal["ESM-2", "ESM C", "DNABERT-S"]


class ModelCard(TypedDict):
    """Name, digest in hex (`Weights.sha256`) and sizes of a model.

    `feed_forward` is the width of a layer's feed-forward part.
    """

    name: Name
    sha256: Sha256
    architecture: Architecture
    layers: PositiveInt
    embed_dim: PositiveInt
    heads: PositiveInt
    feed_forward: PositiveInt


class TokenBudget(TypedDict):
    """A device, the memory that the model needs on it, and the token budget; `reason` explains the budget in words."""

    device: Name
    capability: NotRequired[list[int] | None]
    total_bytes: NotRequired[int]
    free_bytes: NotRequired[int]
    model: ModelCard
    precision: Precision
    model_bytes: NotRequired[int]
    activation_bytes: NotRequired[int]
    margin: NotRequired[float]
    token_budget: PositiveInt
    reason: NotRequired[str]


_MODEL = TypeAdapter(ModelCard)
_BUDGET = TypeAdapter(TokenBudget)


def read_model_card(path: Path) -> ModelCard:
    """Read model.json; raise a UserError if it is missing, damaged, or something else."""
    return read_json(path, _MODEL, "fetch-model")


def read_token_budget(path: Path) -> TokenBudget:
    """Read token_budget.json; raise a UserError if it is missing, damaged, or something else."""
    return read_json(path, _BUDGET, "token-budget")
