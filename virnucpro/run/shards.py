"""Number of shards of a sample, estimated from its file, so that all jobs are known before the run starts."""

import math

# Tokens per letter of a FASTA file. Contigs of phages and bacteria have 0.15 to 0.25 in frames of 500 bp.
TOKENS_PER_LETTER = {"genes": 0.3, "frames": 0.2, "proteins": 1.0, "prodigal": 0.7, "nucleotides": 0.13}
# Letters per byte of a compressed file; four at two bits a base.
LETTERS_PER_BYTE = {"genes": 3.6, "frames": 3.6, "proteins": 1.7, "prodigal": 2.1, "nucleotides": 3.6}


def guess_tokens(size: int, is_compressed: bool, kind: str) -> float:
    """Estimate the tokens of a sample.

    A wrong estimate makes shards of another size; memory and results stay the same.

    Args:
        kind: Sequences that are embedded: `genes`, `frames` or `nucleotides` of contigs, `proteins`, or
            `prodigal` for proteins with Prodigal's headers.

    Examples:
        >>> guess_tokens(1_000_000, is_compressed=False, kind="genes")
        300000.0
    """
    return size * (LETTERS_PER_BYTE[kind] if is_compressed else 1) * TOKENS_PER_LETTER[kind]


def shards_of_tokens(tokens: float, shard_tokens: int) -> int:
    """Return the number of shards for a number of tokens, at least one.

    Examples:
        >>> shards_of_tokens(9_000_000, 4_000_000)
        3
    """
    return max(1, math.ceil(tokens / shard_tokens))
