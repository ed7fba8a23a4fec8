"""Sequences as data: FASTA, packing, manifests, files of embeddings. Nothing here loads torch before it is needed."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virnucpro.data.collation import PackedBatch, VarlenCollator
    from virnucpro.data.packing import GreedyPacker
    from virnucpro.encoders.memory import calculate_token_budget

__all__ = ["GreedyPacker", "PackedBatch", "VarlenCollator", "calculate_token_budget"]

_MODULES = {
    "calculate_token_budget": "virnucpro.encoders.memory",
    "GreedyPacker": "virnucpro.data.packing",
    "PackedBatch": "virnucpro.data.collation",
    "VarlenCollator": "virnucpro.data.collation",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: NumPy takes longer to load than the command line may take to answer.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
