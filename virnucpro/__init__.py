"""Find viruses in metagenomic contigs with protein language models."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virnucpro.api import Calls, Embeddings, call_contigs, embed_proteins, find_regions, name_contigs

__all__ = [
    "Calls",
    "Embeddings",
    "__version__",
    "call_contigs",
    "embed_proteins",
    "find_regions",
    "name_contigs",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded on first use: it loads torch, which most of the package does not need.
    if name in __all__:
        from virnucpro import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
