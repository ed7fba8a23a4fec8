"""prepare: contigs to open frames, or proteins to the letters that the model knows, and the table of both."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

from virnucpro.data.fasta import check_fasta
from virnucpro.data.files import atomic_path
from virnucpro.data.provenance import begin_writing, file_state, write_provenance
from virnucpro.data.records import Record, read_contigs, read_proteins
from virnucpro.errors import UserError
from virnucpro.proteins.frames import ChunkedContig, chunk_contigs
from virnucpro.proteins.table import HEAD, Row
from virnucpro.proteins.translation import reverse_complement

logger = logging.getLogger(__name__)

BLOCK_BASES = 4_000_000  # contigs are worked on in blocks of about this size, which bounds the memory
LINE = 60  # letters a line of chunks.fna, as in the original

OF_CONTIGS = ("chunks.fna", "nucleotides.fna", "proteins.faa", "proteins.tsv", "records.tsv")
OF_PROTEINS = ("proteins.faa", "proteins.tsv", "records.tsv")

_RECORDS_HEAD = b"record\tlength\tchunks\tproteins\tambiguous\n"
_RECORDS_ROW = b"%b\t%d\t%d\t%d\t%d\n"


def prepare_contigs(
    fasta: Path,
    output_dir: Path,
    chunk_size: int,
    short_chunks: Sequence[int] = (),
    genetic_codes: Sequence[int] = (1,),
    orientation: str = "given",
) -> None:
    """Cut contigs into chunks and write the open frames of each, as the original VirNucPro does.

    Writes into `output_dir`: chunks.fna; nucleotides.fna and proteins.faa, of every open frame; proteins.tsv, the table
    of them (`virnucpro.proteins.table`); records.tsv with length, chunks, open frames and codons dropped from these of
    every contig, in input order; provenance.json.

    Args:
        fasta: contigs. Lower case counts as upper case and U as T.
        output_dir: folder for these files.
        chunk_size: bases a chunk.
        short_chunks: sizes to be tried for contigs that have no open frame in chunks of `chunk_size`, in this order.
        genetic_codes: codes to be tried beside the standard one, 1, by NCBI's numbers.
        orientation: `given` counts chunks from the beginning of each contig, as the original does; `canonical` from
            the beginning of whichever strand comes first in the alphabet, so that a contig and its reverse complement
            have the same chunks. Positions in the table are the given contig's in both.

    Raises:
        UserError: the input cannot be read as FASTA of nucleotides with unique ids.
    """
    settings = {
        "type": "contigs",
        "chunk_size": chunk_size,
        "short_chunks": list(short_chunks),
        "genetic_codes": list(genetic_codes),
        "orientation": orientation,
    }
    contigs = frames = dropped = 0
    with _written(fasta, output_dir, OF_CONTIGS, settings) as files:
        chunks_fna, nucleotides_fna, proteins_faa, table, records = files
        writer = _FrameWriter(nucleotides_fna, proteins_faa, table)
        records.write(_RECORDS_HEAD)
        for block in _blocks(read_contigs(fasta)):
            contigs += len(block)
            oriented = [_orient(contig.letters, orientation) for contig in block]
            chunked = chunk_contigs([letters for letters, _ in oriented], chunk_size, short_chunks, genetic_codes)
            for contig, (letters, reversed_), found in zip(block, oriented, chunked, strict=True):
                chunk_name = _chunk_name(contig.name, found.chunk_size, chunk_size)
                for number, (begin, end) in enumerate(found.spans.tolist(), start=1):
                    chunks_fna.write(b">%b\n%b\n" % (chunk_name % number, _wrap(letters[begin:end])))
                writer.write(contig, chunk_name, found, reversed_)
                if not letters:
                    _warn_empty(fasta, contig)
                lost = sum(frame.dropped_codons for frame in found.frames)
                row = (contig.name, len(letters), len(found.spans), len(found.frames), lost)
                records.write(_RECORDS_ROW % row)
                frames += len(found.frames)
                dropped += lost
    logger.info(
        "prepare: %s: %d contigs, %d open frames, %d codons with ambiguous letters left out of them",
        *(fasta, contigs, frames, dropped),
    )
    if not frames:
        logger.warning("%s: no open frame in any contig: the result is empty", fasta)


def prepare_proteins(fasta: Path, output_dir: Path) -> None:
    """Write proteins in the letters that ESM-2 knows: proteins.faa, proteins.tsv, records.tsv and provenance.json.

    Letters other than the 20 amino acids are counted; `read_proteins` says what becomes of them.

    Args:
        fasta: proteins.
        output_dir: folder for these files.

    Raises:
        UserError: the input cannot be read as FASTA of proteins with unique ids.
    """
    proteins = others = offset = 0
    with _written(fasta, output_dir, OF_PROTEINS, {"type": "proteins"}) as (proteins_faa, table, records):
        records.write(_RECORDS_HEAD)
        for name, residues, odd in read_proteins(fasta):
            length = len(residues)
            records.write(_RECORDS_ROW % (name, length, length > 0, length > 0, odd))
            others += odd
            if not length:
                _warn_empty(fasta, Record(name, residues))
                continue
            proteins_faa.write(b">%b\n%b\n" % (name, residues))
            offset += len(name) + 2
            table.write(Row(name, b"", 0, 0, b".", b"protein", 0, length, b"no", proteins, 0, offset).line())
            offset += length + 1
            proteins += 1
    for of_contigs in set(OF_CONTIGS) - set(OF_PROTEINS):  # if the sample held contigs before
        (output_dir / of_contigs).unlink(missing_ok=True)
    logger.info("prepare: %s: %d proteins, %d letters other than the 20 amino acids", fasta, proteins, others)


class _FrameWriter:
    """Writes the open frames of contigs: their nucleotides, their proteins, and the table."""

    def __init__(self, nucleotides_fna: BinaryIO, proteins_faa: BinaryIO, table: BinaryIO) -> None:
        self.nucleotides_fna, self.proteins_faa, self.table = nucleotides_fna, proteins_faa, table
        self.offset = 0  # bytes of proteins.faa that are written
        self.groups = 0  # of linked frames

    def write(self, contig: Record, chunk_name: bytes, chunked: ChunkedContig, reversed_: bool) -> None:
        """Write the frames of a contig.

        Args:
            contig: as it was given.
            chunk_name: of its chunks, with %d for their numbers.
            chunked: its chunks and frames, those of the reverse complement if it is `reversed_`.
            reversed_: whether positions are to be turned into those of the given contig.
        """
        linked: dict[tuple[bool, int], tuple[int, int]] = {}  # by strand and phase: the last chunk and its group
        for frame in chunked.frames:
            name = chunk_name % (frame.chunk + 1) + frame.name.encode()
            self.nucleotides_fna.write(b">%b\n%b\n" % (name, frame.nucleotides))
            self.proteins_faa.write(b">%b\n%b\n" % (name, frame.protein))
            forward = frame.name[0] == "F"
            phase = (forward, (frame.start if forward else frame.end) % 3)
            chunk, group = linked.get(phase, (-2, -1))
            if chunk != frame.chunk - 1:
                group = self.groups
                self.groups += 1
            linked[phase] = (frame.chunk, group)
            start, end = frame.start, frame.end
            if reversed_:
                start, end = len(contig.letters) - end, len(contig.letters) - start
            row = Row(
                protein=name,
                contig=contig.name,
                start=start,
                end=end,
                strand=b"+" if forward != reversed_ else b"-",
                kind=b"frame",
                genetic_code=chunked.genetic_code,
                residues=len(frame.protein),
                partial=b"both",
                group=group,
                chunk=frame.chunk + 1,
                offset=self.offset + len(name) + 2,
            )
            self.table.write(row.line())
            self.offset += len(name) + len(frame.protein) + 3


def _chunk_name(contig: bytes, chunk_size: int, usual: int) -> bytes:
    """Return what the chunks of a contig are called, with %d for their numbers.

    It ends in _chunk_K, or in _chunkSIZE_K where their size is not the usual one, so that no two contigs have chunks of
    the same name.
    """
    size = b"" if chunk_size == usual else b"%d" % chunk_size
    return b"%b_chunk%b_%%d" % (contig.replace(b"%", b"%%"), size)


def _orient(letters: bytes, orientation: str) -> tuple[bytes, bool]:
    """Return the strand whose beginning chunks are counted from, and whether it is the reverse complement."""
    if orientation == "given":
        return letters, False
    opposite = reverse_complement(letters)
    return min(letters, opposite), opposite < letters


@contextmanager
def _written(fasta: Path, folder: Path, names: Sequence[str], settings: dict[str, object]) -> Iterator[list[BinaryIO]]:
    """Yield files to write that appear together, with the record of where they come from, if all goes well."""
    check_fasta(fasta)
    source = file_state(fasta)
    outputs = [folder / name for name in names]
    provenance = folder / "provenance.json"
    begin_writing(provenance, [folder / name for name in OF_CONTIGS])  # of all: it may have held contigs before
    with ExitStack() as stack:
        paths = [stack.enter_context(atomic_path(path)) for path in outputs]
        files: list[BinaryIO] = [stack.enter_context(path.open("wb")) for path in paths]
        files[names.index("proteins.tsv")].write(HEAD)
        yield files
    if not source.holds(fasta):
        raise UserError(f"{fasta}: it changed while it was read; run the prepare stage again")
    write_provenance(provenance, "prepare", settings, {"fasta": source}, outputs, {"fasta": str(fasta)})


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
