"""What the tensors of a model are made of in a file."""

from collections.abc import Mapping

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
