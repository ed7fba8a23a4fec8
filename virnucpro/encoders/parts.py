"""What the layouts of models have in common: what tensors are called and made of in a file, and its settings."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# By the names of a model's tensors, those of the file that are joined along their first dimension.
Parts = dict[str, list[Tensor]]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_parts(parts: Parts, expected: Mapping[str, Tensor]) -> None:
    """Raise a ValueError that names the first tensor whose parts are no floats, or of other shapes than the model's.

    Args:
        parts: of all tensors of the model.
        expected: these tensors; their shapes alone count.
    """
    for name, whole in expected.items():
        shape = (whole.shape[0] // len(parts[name]), *whole.shape[1:])
        for part in parts[name]:
            if part.shape != shape or part.dtype not in _FLOATS:
                raise ValueError(f"{name} is {part.dtype} of shape {tuple(part.shape)}, not floats of shape {shape}")


def without_prefix(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor] | None:
    """Return the tensors with the prefix of the one whose name ends so, without it; None where there is no such."""
    prefix = next((key.removesuffix(name) for key in tensors if key.endswith(name)), None)
    if prefix is None:
        return None
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def check_settings(settings: Mapping[str, Any], needed: Mapping[str, Any]) -> None:
    """Raise a ValueError that names the first setting which says something else than is needed."""
    for name, value in needed.items():
        if settings.get(name) not in (None, value):
            raise ValueError(f"its settings say {name} = {settings[name]!r} where it takes {value!r}")
