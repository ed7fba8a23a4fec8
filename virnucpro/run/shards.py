"""Number of shards of a sample, known before anything runs, so that all jobs are."""

import math

# Tokens that a letter of a FASTA file becomes; contigs of phages and bacteria have 0.15 to 0.25 in frames of 500 bp.
TOKENS_PER_LETTER = {"genes": 0.3, "frames": 0.2, "proteins": 1.0, "nucleotides": 0.13}
# Letters that a byte of a compressed file holds; two bits a base are four.
LETTERS_PER_BYTE = {"genes": 3.6, "frames": 3.6, "proteins": 1.7, "nucleotides": 3.6}


def guess_tokens(size: int, is_compressed: bool, kind: str) -> float:
    """Return a guess of the tokens of a sample.

    A guess that is off costs an even load, not memory and not correctness: bins are dealt over just so many shards.

    Args:
        size: bytes of the sample's file.
        is_compressed: whether the file is compressed.
        kind: what it becomes: the `genes`, the `frames` or their `nucleotides` of contigs, or the `proteins` in it.

    Examples:
        >>> guess_tokens(1_000_000, is_compressed=False, kind="genes")
        300000.0
    """
    return size * (LETTERS_PER_BYTE[kind] if is_compressed else 1) * TOKENS_PER_LETTER[kind]


def shards_of_tokens(tokens: float, shard_tokens: int) -> int:
    """Return into how many shards tokens are divided, at least one.

    Examples:
        >>> shards_of_tokens(9_000_000, 4_000_000)
        3
    """
    return max(1, math.ceil(tokens / shard_tokens))
