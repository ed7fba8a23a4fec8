"""How many shards a sample is divided into: known before anything runs, so that all jobs are."""

import math
from pathlib import Path

from virnucpro.data.fasta import is_compressed

# Tokens that a letter of a FASTA file becomes; contigs of phages and bacteria have 0.15 to 0.25 in frames of 500 bp.
TOKENS_PER_LETTER = {"genes": 0.3, "frames": 0.2, "proteins": 1.0, "nucleotides": 0.13}
# Letters that a byte of a compressed file holds; two bits a base are four.
LETTERS_PER_BYTE = {"genes": 3.6, "frames": 3.6, "proteins": 1.7, "nucleotides": 3.6}


def count_shards(fasta: Path, kind: str, shard_tokens: int) -> int:
    """Return into how many shards a sample is divided, from the size and the compression of its file.

    A guess that is off costs an even load, not memory and not correctness: bins are dealt over just so many shards.

    Args:
        fasta: the sample's file.
        kind: what it becomes: the genes, the frames or their nucleotides of contigs, or the proteins that it holds.
        shard_tokens: tokens a shard should have, about.
    """
    return shards_of_tokens(guess_tokens(fasta, kind), shard_tokens)


def guess_tokens(fasta: Path, kind: str) -> float:
    """Return how many tokens a sample has, about, from the size and the compression of its file."""
    letters = fasta.stat().st_size * (LETTERS_PER_BYTE[kind] if is_compressed(fasta) else 1)
    return letters * TOKENS_PER_LETTER[kind]


def shards_of_tokens(tokens: float, shard_tokens: int) -> int:
    """Return into how many shards so many tokens are divided, at least one."""
    return max(1, math.ceil(tokens / shard_tokens))
