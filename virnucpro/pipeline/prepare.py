"""prepare: contigs to chunks and open frames."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np

from virnucpro.data.chunking import chunk_spans
from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import atomic_path
from virnucpro.data.translation import open_frames
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

BLOCK_BASES = 4_000_000  # contigs are worked on in blocks of about this size, which bounds the memory
LINE = 60  # letters a line of chunks.fna, as in the original

_IUPAC = b"ACGTUNRYSWKMBDHV"


def prepare(fasta: Path, output_dir: Path, chunk_size: int = 500) -> None:
    """Cut contigs into chunks and write the open frames of each, as the original VirNucPro does.

    Writes into `output_dir`: chunks.fna; frames.fna and frames.faa, the nucleotides and the protein of every open
    frame; contigs.tsv with length, chunks, frames and dropped codons of every contig, in input order.

    Args:
        fasta: contigs, plain or gzipped FASTA. Lower case counts as upper case and U as T.
        output_dir: folder for the four files.
        chunk_size: bases a chunk.

    Raises:
        UserError: the input cannot be read as FASTA of nucleotides with unique ids.
    """
    contigs = frames = 0
    with ExitStack() as stack:
        names = ("chunks.fna", "frames.fna", "frames.faa", "contigs.tsv")
        paths = [stack.enter_context(atomic_path(output_dir / name)) for name in names]
        chunks_fna, frames_fna, frames_faa, table = (stack.enter_context(path.open("wb")) for path in paths)
        table.write(b"contig\tlength\tchunks\tframes\tdropped_codons\n")
        for block in _blocks(_contigs(fasta)):
            contigs += len(block)
            lengths = [len(sequence) for _, sequence in block]
            ends = np.cumsum(lengths)
            bases = b"".join(sequence for _, sequence in block)
            spans_of = [chunk_spans(length, chunk_size) for length in lengths]
            spans = np.concatenate([s + end - length for s, end, length in zip(spans_of, ends, lengths, strict=True)])
            ids = [b"%b_chunk_%d" % (name, k) for (name, _), s in zip(block, spans_of, strict=True) for k in _count(s)]
            contig_of = np.repeat(np.arange(len(block)), [len(s) for s in spans_of])

            for name, (begin, end) in zip(ids, spans.tolist(), strict=True):
                chunks_fna.write(b">%b\n%b\n" % (name, _wrap(bases[begin:end])))
            frames_of = np.zeros(len(block), np.int64)
            dropped_of = np.zeros(len(block), np.int64)
            for frame in open_frames(bases, spans):
                name = ids[frame.chunk] + frame.name.encode()
                frames_fna.write(b">%b\n%b\n" % (name, frame.nucleotides))
                frames_faa.write(b">%b\n%b\n" % (name, frame.protein))
                frames_of[contig_of[frame.chunk]] += 1
                dropped_of[contig_of[frame.chunk]] += frame.dropped_codons
            frames += int(frames_of.sum())
            columns = zip(block, lengths, spans_of, frames_of.tolist(), dropped_of.tolist(), strict=True)
            for (name, _), length, s, found, dropped in columns:
                table.write(b"%b\t%d\t%d\t%d\t%d\n" % (name, length, len(s), found, dropped))
                if not length:
                    logger.warning("%s: record %s is empty and is left out", fasta, name.decode())
    logger.info("prepare: %s: %d contigs, %d open frames", fasta, contigs, frames)
    if not frames:
        logger.warning("%s: no open frame in any contig: the result is empty", fasta)


def _wrap(sequence: bytes) -> bytes:
    return b"\n".join(map(sequence.__getitem__, _lines(len(sequence))))


@cache
def _lines(length: int) -> list[slice]:
    return [slice(begin, begin + LINE) for begin in range(0, length, LINE)]


def _count(spans: np.ndarray) -> range:
    return range(1, len(spans) + 1)


def _contigs(fasta: Path) -> Iterator[tuple[bytes, bytes]]:
    for name, sequence in read_fasta(fasta):
        letters = sequence.upper().encode("ascii", "replace")
        odd = letters.translate(None, _IUPAC)
        if odd:
            raise UserError(f"{fasta}: {name}: {chr(odd[0])!r} is no IUPAC nucleotide code; contigs are DNA or RNA")
        yield name.encode(), letters.replace(b"U", b"T")


def _blocks(contigs: Iterable[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    block: list[tuple[bytes, bytes]] = []
    size = 0
    for contig in contigs:
        block.append(contig)
        size += len(contig[1])
        if size >= BLOCK_BASES:
            yield block
            block, size = [], 0
    if block:
        yield block
