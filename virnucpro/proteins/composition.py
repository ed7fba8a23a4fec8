"""Composition of proteins in amino acids, dipeptides and tripeptides."""

from collections.abc import Sequence

import numpy as np

from virnucpro.data.arrays import Integers, Rows

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
# Amino acids that often replace each other count as one in tripeptides.
CLASSES = ("A", "C", "DE", "FY", "G", "H", "ILMV", "KR", "NQ", "P", "ST", "W")
WIDTH = len(AMINO_ACIDS) + len(AMINO_ACIDS) ** 2 + len(CLASSES) ** 3
BLOCK = 1_000  # proteins that are counted at once

_AMINO_ACID = np.full(256, -1)
_AMINO_ACID[np.frombuffer(AMINO_ACIDS.encode(), np.uint8)] = np.arange(len(AMINO_ACIDS))
_CLASS = np.full(256, -1)
for _number, _letters in enumerate(CLASSES):
    _CLASS[np.frombuffer(_letters.encode(), np.uint8)] = _number


def composition(proteins: Sequence[bytes]) -> Rows:
    """Return the square roots of the frequencies of words in proteins, float32 [proteins, 2148].

    The columns are the 20 amino acids, the 400 dipeptides, and the 1,728 tripeptides over the 12 `CLASSES`. Frequencies
    of each of the three sum to 1. Words with another letter are not counted.

    Examples:
        Half of the amino acids of this protein are A, and one of its three dipeptides is AC.

        >>> frequencies = composition([b"ACAG"])[0] ** 2
        >>> dict(zip(AMINO_ACIDS[:6], frequencies[:6].round(2).tolist()))
        {'A': 0.5, 'C': 0.25, 'D': 0.0, 'E': 0.0, 'F': 0.0, 'G': 0.25}
        >>> dipeptides = frequencies[20:420].reshape(20, 20)
        >>> round(dipeptides[AMINO_ACIDS.index("A"), AMINO_ACIDS.index("C")].item(), 2)
        0.33
    """
    blocks = [_count(proteins[first : first + BLOCK]) for first in range(0, len(proteins), BLOCK)]
    return np.concatenate([np.empty((0, WIDTH), np.float32), *blocks])


def _count(proteins: Sequence[bytes]) -> Rows:
    letters = np.frombuffer(b"".join(proteins), np.uint8)
    owner = np.repeat(np.arange(len(proteins)), list(map(len, proteins)))
    codes = ((_AMINO_ACID[letters], len(AMINO_ACIDS), 1), (_AMINO_ACID[letters], len(AMINO_ACIDS), 2))
    parts = [_frequencies(owner, *of, len(proteins)) for of in (*codes, (_CLASS[letters], len(CLASSES), 3))]
    return np.sqrt(np.concatenate(parts, axis=1, dtype=np.float32))


def _frequencies(owner: Integers, code: Integers, letters: int, length: int, proteins: int) -> Rows:
    """Return the frequencies of words of a length, [proteins, letters ** length]; codes under 0 are in no word."""
    starts = np.arange(max(0, len(code) - length + 1))
    word, known = np.zeros(len(starts), np.int64), owner[starts] == owner[starts + length - 1]
    for shift in range(length):
        here = code[shift : shift + len(starts)]
        word = word * letters + here
        known &= here >= 0
    words = letters**length
    counts = np.bincount(owner[starts][known] * words + word[known], minlength=proteins * words)
    counts = counts.reshape(proteins, words).astype(np.float32)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True).clip(min=1))
