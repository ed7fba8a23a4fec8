"""What a run knows of its model and its device: model.json and token_budget.json."""

import json
from functools import cache
from pathlib import Path
from typing import Any, TypedDict, cast

import fastjsonschema

from virnucpro.data.provenance import checked_input
from virnucpro.errors import UserError


class ModelCard(TypedDict):
    """Which weights: a name for people, a digest (SHA-256 of the file, in hex) for comparison; and their sizes."""

    name: str
    sha256: str
    layers: int
    embed_dim: int
    heads: int


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
    "required": ["name", "sha256", "layers", "embed_dim", "heads"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "layers": _NUMBER,
        "embed_dim": _NUMBER,
        "heads": _NUMBER,
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


def record_of(path: Path) -> Path:
    """Return where the record of a run's file lies, such as model.provenance.json for model.json."""
    return path.with_suffix(".provenance.json")


def read_model_card(path: Path) -> ModelCard:
    """Read model.json; a UserError says that it is missing, damaged, or something else."""
    return cast(ModelCard, _read(path, "fetch-model"))


def read_token_budget(path: Path) -> TokenBudget:
    """Read token_budget.json; a UserError says that it is missing, damaged, or something else."""
    return cast(TokenBudget, _read(path, "token-budget"))


def _read(path: Path, stage: str) -> Any:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        _validator(stage)(values)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the {stage} stage again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, fastjsonschema.JsonSchemaException) as error:
        raise UserError(f"{path}: not what the {stage} stage writes: {error}; give that file") from None
    checked_input(path, record_of(path))
    return values


@cache
def _validator(stage: str) -> Any:
    return fastjsonschema.compile({"fetch-model": _MODEL, "token-budget": _BUDGET}[stage])
