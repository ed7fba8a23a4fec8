"""prepare: contigs to chunks and open frames, or proteins to letters that ESM-2 knows."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

from virnucpro.data.fasta import check_fasta
from virnucpro.data.files import atomic_path, file_digest
from virnucpro.data.records import Record, read_contigs, read_proteins
from virnucpro.proteins.frames import chunk_contigs

logger = logging.getLogger(__name__)

BLOCK_BASES = 4_000_000  # contigs are worked on in blocks of about this size, which bounds the memory
LINE = 60  # letters a line of chunks.fna, as in the original

_TABLE_HEAD = b"record\tlength\tchunks\tproteins\tambiguous\n"
_TABLE_ROW = b"%b\t%d\t%d\t%d\t%d\n"
_FRAMES_HEAD = b"frame\tcontig\tstart\tend\tstrand\tchunk_size\tgenetic_code\n"
_FRAMES_ROW = b"%b\t%b\t%d\t%d\t%b\t%d\t%d\n"


def prepare_contigs(
    fasta: Path,
    output_dir: Path,
    chunk_size: int = 500,
    short_chunks: Sequence[int] = (),
    genetic_codes: Sequence[int] = (1,),
) -> None:
    """Cut contigs into chunks and write the open frames of each, as the original VirNucPro does.

    Writes into `output_dir`: chunks.fna; nucleotides.fna and proteins.faa, of every open frame; frames.tsv, where each
    of them lies; records.tsv with length, chunks, open frames and codons dropped from these of every contig, in input
    order; input.json with the input's path and digest.

    Args:
        fasta: contigs. Lower case counts as upper case and U as T.
        output_dir: folder for these files.
        chunk_size: bases a chunk.
        short_chunks: sizes to be tried for contigs that have no open frame in chunks of `chunk_size`, in this order.
        genetic_codes: codes to be tried beside the standard one, 1, by NCBI's numbers.

    Raises:
        UserError: the input cannot be read as FASTA of nucleotides with unique ids.
    """
    contigs = frames = dropped = 0
    names = ("chunks.fna", "nucleotides.fna", "proteins.faa", "frames.tsv", "records.tsv", "input.json")
    with _written(output_dir, names) as (chunks_fna, nucleotides_fna, proteins_faa, places, table, source):
        source.write(_describe_input(fasta))
        places.write(_FRAMES_HEAD)
        table.write(_TABLE_HEAD)
        for block in _blocks(read_contigs(fasta)):
            contigs += len(block)
            chunked = chunk_contigs([contig.letters for contig in block], chunk_size, short_chunks, genetic_codes)
            for contig, found in zip(block, chunked, strict=True):
                name, sequence, _ = contig
                stem = b"%b_chunk_%%d" % name.replace(b"%", b"%%")
                if found.chunk_size != chunk_size:
                    stem = b"%b_%dbp_chunk_%%d" % (name.replace(b"%", b"%%"), found.chunk_size)
                for number, (begin, end) in enumerate(found.spans.tolist(), start=1):
                    chunks_fna.write(b">%b\n%b\n" % (stem % number, _wrap(sequence[begin:end])))
                lost = 0
                for frame in found.frames:
                    frame_name = stem % (frame.chunk + 1) + frame.name.encode()
                    nucleotides_fna.write(b">%b\n%b\n" % (frame_name, frame.nucleotides))
                    proteins_faa.write(b">%b\n%b\n" % (frame_name, frame.protein))
                    strand = b"+" if frame.name[0] == "F" else b"-"
                    place = (frame.start, frame.end, strand, found.chunk_size, found.genetic_code)
                    places.write(_FRAMES_ROW % (frame_name, name, *place))
                    lost += frame.dropped_codons
                if not sequence:
                    _warn_empty(fasta, contig)
                table.write(_TABLE_ROW % (name, len(sequence), len(found.spans), len(found.frames), lost))
                frames += len(found.frames)
                dropped += lost
    logger.info(
        "prepare: %s: %d contigs, %d open frames, %d codons with ambiguous letters left out of them",
        *(fasta, contigs, frames, dropped),
    )
    if not frames:
        logger.warning("%s: no open frame in any contig: the result is empty", fasta)


def prepare_proteins(fasta: Path, output_dir: Path) -> None:
    """Write proteins in the letters that ESM-2 knows: proteins.faa, records.tsv and input.json, in input order.

    Letters other than the 20 amino acids are counted; `read_proteins` says what becomes of them.

    Args:
        fasta: proteins.
        output_dir: folder for these files.

    Raises:
        UserError: the input cannot be read as FASTA of proteins with unique ids.
    """
    proteins = others = 0
    with _written(output_dir, ("proteins.faa", "records.tsv", "input.json")) as (proteins_faa, table, source):
        source.write(_describe_input(fasta))
        table.write(_TABLE_HEAD)
        for protein in read_proteins(fasta):
            length = len(protein.letters)
            table.write(_TABLE_ROW % (protein.name, length, length > 0, length > 0, protein.odd))
            if length:
                proteins_faa.write(b">%b\n%b\n" % (protein.name, protein.letters))
                proteins += 1
            else:
                _warn_empty(fasta, protein)
            others += protein.odd
    for name in ("chunks.fna", "nucleotides.fna", "frames.tsv"):  # of when the sample was one of contigs
        (output_dir / name).unlink(missing_ok=True)
    logger.info("prepare: %s: %d proteins, %d letters other than the 20 amino acids", fasta, proteins, others)


def _describe_input(fasta: Path) -> bytes:
    check_fasta(fasta)
    return json.dumps({"path": str(fasta), "sha256": file_digest(fasta)}, indent=1).encode() + b"\n"


@contextmanager
def _written(folder: Path, names: tuple[str, ...]) -> Iterator[list[BinaryIO]]:
    with ExitStack() as stack:
        paths = [stack.enter_context(atomic_path(folder / name)) for name in names]
        yield [stack.enter_context(path.open("wb")) for path in paths]


def _wrap(sequence: bytes) -> bytes:
    return b"\n".join(map(sequence.__getitem__, _lines(len(sequence))))


@cache
def _lines(length: int) -> list[slice]:
    return [slice(begin, begin + LINE) for begin in range(0, length, LINE)]


def _warn_empty(fasta: Path, record: Record) -> None:
    logger.warning("%s: record %s is empty and is left out", fasta, record.name.decode())


def _blocks(contigs: Iterable[Record]) -> Iterator[list[Record]]:
    block: list[Record] = []
    size = 0
    for contig in contigs:
        block.append(contig)
        size += len(contig.letters)
        if size >= BLOCK_BASES:
            yield block
            block, size = [], 0
    if block:
        yield block
