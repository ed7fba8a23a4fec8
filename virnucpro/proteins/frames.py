"""The chunk size and the genetic code that a contig is read in, and its open frames."""

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
RARE = 1e-3  # an alternative code is taken if chance opens as many chunks less often than this


class ChunkedContig(NamedTuple):
    """A contig's chunks, int64 [chunks, 2], and the open frames in them; all positions are the contig's."""

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

    A contig is read in the standard code, or in an alternative one if that opens at least twice as many chunks, and
    more than chance would. Of several such alternatives the one that opens the most chunks is taken, and of equal ones
    the first. A contig without any open frame is read in the standard code in the first of the shorter chunks that
    hold one, or else stays without.

    Contigs are in upper-case letters. Of the sizes of short chunks those that are not shorter are ignored. The codes to
    try are NCBI's numbers.
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
    """Return the group that each frame of a contig is in, by numbers from 0 in the order of the frames.

    Frames of neighbouring chunks that are read in one phase are one group.
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
    """Divide contigs into chunks and translate them as one array, which is faster than one by one."""
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
    """Return whether an alternative code opens twice as many chunks as the standard one, and more than chance would.

    If the standard code is right, a closed chunk opens by chance in two ways: a gene ends in the middle of the chunk,
    and no stop of the alternative code follows it in its frame; or one of the six frames has no such stop at all.
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
    # The binomial distribution's tail from `opened` on. scipy.stats has it too, but takes half a second to load.
    return bool(bdtrc(opened - 1, closed, chance) < RARE)
