"""How many shards a sample is divided into: known before anything runs, so that all jobs are."""

import math
from pathlib import Path

from virnucpro.data.fasta import is_compressed

# Tokens that a letter of a FASTA file becomes; contigs of phages and bacteria have 0.15 to 0.25 in frames of 500 bp.
TOKENS_PER_LETTER = {"contigs": 0.2, "proteins": 1.0}
# Letters that a byte of a compressed file holds; two bits a base are four.
LETTERS_PER_BYTE = {"contigs": 3.6, "proteins": 1.7}


def count_shards(fasta: Path, kind: str, shard_tokens: int) -> int:
    """Return into how many shards a sample is divided, from the size and the compression of its file.

    A guess that is off costs an even load, not memory and not correctness: bins are dealt over just so many shards.

    Args:
        fasta: the sample's file.
        kind: contigs or proteins.
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
