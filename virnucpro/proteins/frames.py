"""Chunk size, genetic code and open frames of each contig."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from Bio.Data.CodonTable import unambiguous_dna_by_id
from scipy.special import bdtrc

from virnucpro.data.arrays import Integers
from virnucpro.proteins.chunking import chunk_spans
from virnucpro.proteins.translation import Frame, open_frames

STANDARD_CODE = 1
RARE = 1e-3  # p-value below which an alternative code is used


class ChunkedContig(NamedTuple):
    """A contig's chunks, int64 [chunks, 2], and the open frames in them; positions are in the contig."""

    chunk_size: int
    genetic_code: int
    spans: Integers
    frames: list[Frame]

    @property
    def open_chunks(self) -> set[int]:
        """Numbers of the chunks with an open frame."""
        return {frame.chunk for frame in self.frames}


def chunk_contigs(
    contigs: Sequence[bytes], chunk_size: int, short_chunks: Sequence[int] = (), genetic_codes: Sequence[int] = (1,)
) -> list[ChunkedContig]:
    """Divide contigs into chunks and find the open frames of each.

    A chunk is open if one of its six frames is. A contig is read in the standard code, unless an alternative code opens
    at least twice as many chunks, and more than expected by chance. If several alternatives do, the code with the most
    open chunks is used, or the first of equal ones.

    A contig without an open frame is divided into shorter chunks, in the standard code. The first size that gives an
    open frame is used.

    Args:
        contigs: Upper-case letters.
        short_chunks: Shorter sizes to try, in this order; sizes that are not shorter are ignored.
        genetic_codes: NCBI's numbers of the codes to try.
    """
    standard = _chunk(contigs, chunk_size, STANDARD_CODE)
    chunked = list(standard)
    for code in (code for code in genetic_codes if code != STANDARD_CODE):
        for index, found in enumerate(_chunk(contigs, chunk_size, code)):
            opens_more = len(found.open_chunks) > len(chunked[index].open_chunks)
            if opens_more and _beats_standard(found, standard[index], contigs[index]):
                chunked[index] = found
    for size in short_chunks:
        closed = [index for index, found in enumerate(chunked) if not found.frames and size < chunk_size]
        for index, found in zip(closed, _chunk([contigs[index] for index in closed], size, STANDARD_CODE), strict=True):
            if found.frames:
                chunked[index] = found
    return chunked


def link_frames(frames: Sequence[Frame]) -> list[int]:
    """Return the number of each frame's group of linked frames, from 0 in the order of the frames.

    Frames of neighboring chunks are linked if they are on the same strand and in the same phase: their codons continue
    without a shift.
    """
    linked: dict[tuple[bool, int], tuple[int, int]] = {}  # by strand and phase: the last chunk and its group
    groups, last = [], -1
    for frame in frames:
        forward = frame.name[0] == "F"
        phase = (forward, (frame.start if forward else frame.end) % 3)
        chunk, group = linked.get(phase, (-2, -1))
        if chunk != frame.chunk - 1:
            last += 1
            group = last
        linked[phase] = (frame.chunk, group)
        groups.append(group)
    return groups


def _chunk(contigs: Sequence[bytes], chunk_size: int, genetic_code: int) -> list[ChunkedContig]:
    """Divide contigs into chunks, and translate all contigs at once for speed."""
    begins = np.cumsum([0, *map(len, contigs)])
    spans = [chunk_spans(len(contig), chunk_size) for contig in contigs]
    first = np.cumsum([0, *map(len, spans)])
    chunked = [ChunkedContig(chunk_size, genetic_code, s, []) for s in spans]
    if not contigs:
        return chunked
    shifted = np.concatenate([s + begin for s, begin in zip(spans, begins, strict=False)])
    contig_of = np.repeat(np.arange(len(contigs)), np.diff(first)).tolist()
    begins, first = begins.tolist(), first.tolist()
    for frame in open_frames(b"".join(contigs), shifted, genetic_code):
        contig = contig_of[frame.chunk]
        begin = begins[contig]
        chunked[contig].frames.append(
            Frame(frame.chunk - first[contig], frame.name, frame.start - begin, frame.end - begin, *frame[4:])
        )
    return chunked


def _beats_standard(alternative: ChunkedContig, standard: ChunkedContig, contig: bytes) -> bool:
    """Return whether an alternative code opens twice as many chunks as the standard one, and more than by chance.

    Under the standard code, a closed chunk can open by chance in two ways. A gene ends in the middle of the chunk, and
    no stop of the alternative code follows in its frame. Or one of the six frames has no stop of that code at all.
    """
    if len(alternative.open_chunks) < 2 * len(standard.open_chunks):
        return False
    closed = len(standard.spans) - len(standard.open_chunks)
    opened = len(alternative.open_chunks - standard.open_chunks)
    gc = (contig.count(b"G") + contig.count(b"C")) / len(contig)
    frequency = {"G": gc / 2, "C": gc / 2, "A": (1 - gc) / 2, "T": (1 - gc) / 2}
    stop_codons = unambiguous_dna_by_id[alternative.genetic_code].stop_codons
    stop = sum(math.prod(frequency[base] for base in codon) for codon in stop_codons)
    codons = alternative.chunk_size // 3
    chance = min(1.0, (1 - stop) ** (codons / 2) + 6 * (1 - stop) ** codons)
    # Upper tail of the binomial distribution. scipy.stats has it too, but takes half a second to load.
    return bool(bdtrc(opened - 1, closed, chance) < RARE)
