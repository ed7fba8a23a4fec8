"""Translation of many contigs at once in six frames, as array operations over bytes.

Every position is translated once on each strand, as the start of a codon. A frame of a chunk is then every third letter
of one of the two strings. Running counts of stops tell whether the frame is open.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from Bio.Data.CodonTable import unambiguous_dna_by_id

from virnucpro.data.arrays import Integers

FRAME_NAMES = ("F1", "F2", "F3", "R1", "R2", "R3")

_BASES = "ACGT"
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")
_COMPLEMENT_IUPAC = bytes.maketrans(b"ACGTRYKMBVDH", b"TGCAYRMKVBHD")
_DROPPED = 0  # a codon with a letter other than A, C, G, T, which is dropped from the protein

# One number holds three counts, each in its own bits, so that one running sum is enough.
_COUNT_BITS = 21
_STOP_FORWARD, _STOP_REVERSE, _LOST = range(3)

_DIGIT = np.full(256, len(_BASES), np.uint8)
_DIGIT[list(_BASES.encode())] = range(len(_BASES))


@cache
def _codon_tables(genetic_code: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Integers]:
    """Return, for every codon in base 5, its residue on either strand, and its increment of the three counts."""
    amino_acid = unambiguous_dna_by_id[genetic_code].forward_table
    forward, reverse = np.full((2, 125), _DROPPED, np.uint8)
    for (i, a), (j, b), (k, c) in product(enumerate(_BASES), repeat=3):
        codon = a + b + c
        opposite = codon.encode().translate(_COMPLEMENT)[::-1].decode()
        forward[25 * i + 5 * j + k] = ord(amino_acid.get(codon, "*"))
        reverse[25 * i + 5 * j + k] = ord(amino_acid.get(opposite, "*"))
    counted = {_STOP_FORWARD: forward == ord("*"), _STOP_REVERSE: reverse == ord("*"), _LOST: forward == _DROPPED}
    marks = sum(is_counted.astype(np.int64) << _COUNT_BITS * count for count, is_counted in counted.items())
    return forward, reverse, np.asarray(marks)


def reverse_complement(bases: bytes) -> bytes:
    """Return the opposite strand of upper-case IUPAC letters of DNA."""
    return bases.translate(_COMPLEMENT_IUPAC)[::-1]


def number_codons(bases: bytes) -> npt.NDArray[np.uint8]:
    """Return the codon that starts at each base, uint8 [bases - 2], in base 5; letters other than ACGT count as 4."""
    digits = _DIGIT[np.frombuffer(bases, np.uint8)]
    return digits[:-2] * np.uint8(25) + digits[1:-1] * np.uint8(5) + digits[2:]


def translate_everywhere(bases: bytes, genetic_code: int) -> tuple[bytes, bytes]:
    """Return the residue of the codon that starts at each base, and of the same three bases on the opposite strand.

    Both have a letter for each base except the last two: `*` for a stop, NUL for a codon with an ambiguous letter.

    Examples:
        The codons ATG, TGA and GAA start at bases 0, 1 and 2. On the opposite strand they are CAT, TCA and TTC.

        >>> translate_everywhere(b"ATGAA", genetic_code=11)
        (b'M*E', b'HSF')
    """
    forward, reverse, _ = _codon_tables(genetic_code)
    codons = number_codons(bases)
    return forward[codons].tobytes(), reverse[codons].tobytes()


class Frame(NamedTuple):
    """An open frame of a chunk."""

    chunk: int  # row of its chunk's span
    name: str  # F1 F2 F3 R1 R2 R3
    start: int  # position of its codons, from 0, half-open, on either strand
    end: int
    protein: bytes
    nucleotides: bytes
    dropped_codons: int


def open_frames(bases: bytes, spans: Integers, genetic_code: int = 1) -> Iterator[Frame]:
    """Yield the open frames of chunks, by chunk and then F1 F2 F3 R1 R2 R3.

    A frame is open if its protein has no stop and at least one residue. Codons with a letter other than A, C, G, T are
    dropped from the protein. As in the original, a frame's nucleotides are 3 x residues + 1 bases from its first base,
    clipped at the end of the chunk.

    Args:
        bases: Upper-case letters of one or more contigs, end to end.
        spans: Half-open spans of chunks in the bases, int64 [chunks, 2]; no chunk spans two contigs.
        genetic_code: NCBI's number; 1 is the standard code.

    Examples:
        Frames F1 and F2 have a stop: TAG and TGA.

        >>> [(frame.name, frame.protein) for frame in open_frames(b"ATGAAATAG", np.array([[0, 9]]))]
        [('F3', b'EI'), ('R1', b'LFH'), ('R2', b'YF'), ('R3', b'IS')]
    """
    if len(spans) == 0 or len(bases) < 3:
        return
    residue_forward, residue_reverse, codon_marks = _codon_tables(genetic_code)
    codons = number_codons(bases)
    marks = np.zeros((-(-len(codons) // 3) + 1, 3), np.int64)
    marks[1:].reshape(-1)[: len(codons)] = codon_marks[codons]
    running = np.cumsum(marks, axis=0)  # [row, phase]: sum over the codons at phase, phase + 3, ... before row

    start, end = spans[:, :1], spans[:, 1:]
    offset = np.arange(3)
    count = np.maximum(end - start - offset, 0) // 3  # [chunks, 3], the same on either strand
    lowest = np.hstack([start + offset, end - offset - 3 * count])  # [chunks, 6], first base of the lowest codon
    lowest = np.minimum(lowest, len(codons))  # a chunk of under three bases at the very end has no codon
    if count.max() >> _COUNT_BITS:
        raise ValueError(f"chunks of over {3 << _COUNT_BITS:,} bases cannot be translated")
    count = np.hstack([count, count])
    row, phase = np.divmod(lowest, 3)
    marked = running[row + count, phase] - running[row, phase]
    lost = marked >> _COUNT_BITS * _LOST
    stop = np.repeat([_STOP_FORWARD, _STOP_REVERSE], 3)
    stopped = marked >> _COUNT_BITS * stop & (1 << _COUNT_BITS) - 1

    forward, reverse = residue_forward[codons].tobytes(), residue_reverse[codons].tobytes()
    opposite = bases.translate(_COMPLEMENT)[::-1]
    chunks, frames = np.nonzero((stopped == 0) & (count > lost))
    kept = np.stack([chunks, frames, lowest[chunks, frames], count[chunks, frames], lost[chunks, frames]], axis=1)
    for (chunk, frame, first, length, gone), (begin, clip) in zip(kept.tolist(), spans[chunks].tolist(), strict=True):
        codon_starts = slice(first, first + 3 * length, 3)
        if frame < 3:
            protein, strand = forward[codon_starts], bases
        else:
            protein, strand = reverse[codon_starts][::-1], opposite
            begin, clip = len(bases) - clip, len(bases) - begin
        if gone:
            protein = protein.replace(b"\0", b"")
        begin += frame % 3
        nucleotides = strand[begin : min(begin + 1 + 3 * len(protein), clip)]
        yield Frame(chunk, FRAME_NAMES[frame], first, first + 3 * length, protein, nucleotides, gone)
