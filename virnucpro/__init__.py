"""Find viruses in metagenomic contigs with protein language models."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virnucpro.embedding.proteins import Embeddings, embed_proteins

__all__ = ["Embeddings", "__version__", "embed_proteins"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded on first use: it loads torch, which most of the package does not need.
    if name in ("Embeddings", "embed_proteins"):
        from virnucpro.embedding import proteins

        return getattr(proteins, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
