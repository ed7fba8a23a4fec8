"""What a run knows of its model and its device: model.json and token_budget.json."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import fastjsonschema

from virnucpro.data.provenance import RECORDS, checked_input
from virnucpro.errors import UserError

Architecture = Literal["ESM-2", "DNABERT-S"]


class ModelCard(TypedDict):
    """Which weights: a name for people, a digest in hex (`Weights.sha256`) for comparison; and their sizes.

    `feed_forward` is the width of a layer's feed-forward part.
    """

    name: str
    sha256: str
    architecture: Architecture
    layers: int
    embed_dim: int
    heads: int
    feed_forward: int


class TokenBudget(TypedDict):
    """A device, what the model takes on it, and the budget that follows; `reason` says in words how it does."""

    device: str
    capability: list[int] | None
    total_bytes: int
    free_bytes: int
    model: ModelCard
    precision: str
    model_bytes: int
    activation_bytes: int
    margin: float
    token_budget: int
    reason: str


_NUMBER = {"type": "integer", "minimum": 1}
_MODEL = {
    "type": "object",
    "required": ["name", "sha256", "architecture", "layers", "embed_dim", "heads", "feed_forward"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "architecture": {"enum": ["ESM-2", "DNABERT-S"]},
        "layers": _NUMBER,
        "embed_dim": _NUMBER,
        "heads": _NUMBER,
        "feed_forward": _NUMBER,
    },
}
_BUDGET = {
    "type": "object",
    "required": ["device", "model", "precision", "token_budget"],
    "properties": {
        "device": {"type": "string", "minLength": 1},
        "model": _MODEL,
        "precision": {"enum": ["float32", "bfloat16", "float16"]},
        "token_budget": _NUMBER,
    },
}


def read_model_card(path: Path) -> ModelCard:
    """Read model.json; a UserError says that it is missing, damaged, or something else."""
    return cast(ModelCard, _read(path, "fetch_model"))


def read_token_budget(path: Path) -> TokenBudget:
    """Read token_budget.json; a UserError says that it is missing, damaged, or something else."""
    return cast(TokenBudget, _read(path, "token_budget"))


def _read(path: Path, stage: str) -> Any:
    command = stage.replace("_", "-")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        _validator(stage)(values)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the {command} stage again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, fastjsonschema.JsonSchemaException) as error:
        raise UserError(f"{path}: not what the {command} stage writes: {error}; give that file") from None
    checked_input(path, path.with_name(RECORDS), stage)
    return values


@cache
def _validator(stage: str) -> Any:
    return fastjsonschema.compile({"fetch_model": _MODEL, "token_budget": _BUDGET}[stage])
