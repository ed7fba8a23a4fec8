"""prepare: contigs to chunks and open frames, or proteins to letters that ESM-2 knows."""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from virnucpro.data.chunking import chunk_spans
from virnucpro.data.fasta import check_fasta, locate, read_fasta
from virnucpro.data.files import atomic_path, file_digest
from virnucpro.data.translation import open_frames
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

BLOCK_BASES = 4_000_000  # contigs are worked on in blocks of about this size, which bounds the memory
LINE = 60  # letters a line of chunks.fna, as in the original

NUCLEOTIDES = b"ACGTUNRYSWKMBDHV"  # IUPAC
AMINO_ACIDS = b"ACDEFGHIKLMNPQRSTVWY"
RESIDUES = AMINO_ACIDS + b"XUOBZ"  # those of ESM-2's alphabet; U, O, B and Z have tokens of their own there
_UNKNOWN = bytes.maketrans(b"J*", b"XX")  # leucine or isoleucine, and a stop inside a protein
_GAPS = b"-."

_TABLE_HEAD = b"record\tlength\tchunks\tproteins\tambiguous\n"
_TABLE_ROW = b"%b\t%d\t%d\t%d\t%d\n"


def prepare_contigs(fasta: Path, output_dir: Path, chunk_size: int = 500) -> None:
    """Cut contigs into chunks and write the open frames of each, as the original VirNucPro does.

    Writes into `output_dir`: chunks.fna; nucleotides.fna and proteins.faa, of every open frame; records.tsv with
    length, chunks, open frames and codons dropped from these of every contig, in input order; input.json with the
    input's path and digest.

    Args:
        fasta: contigs. Lower case counts as upper case and U as T.
        output_dir: folder for these files.
        chunk_size: bases a chunk.

    Raises:
        UserError: the input cannot be read as FASTA of nucleotides with unique ids.
    """
    contigs = frames = dropped = 0
    names = ("chunks.fna", "nucleotides.fna", "proteins.faa", "records.tsv", "input.json")
    with _written(output_dir, names) as (chunks_fna, nucleotides_fna, proteins_faa, table, source):
        source.write(_describe_input(fasta))
        table.write(_TABLE_HEAD)
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
                nucleotides_fna.write(b">%b\n%b\n" % (name, frame.nucleotides))
                proteins_faa.write(b">%b\n%b\n" % (name, frame.protein))
                frames_of[contig_of[frame.chunk]] += 1
                dropped_of[contig_of[frame.chunk]] += frame.dropped_codons
            frames += int(frames_of.sum())
            dropped += int(dropped_of.sum())
            columns = zip(block, lengths, spans_of, frames_of.tolist(), dropped_of.tolist(), strict=True)
            for (name, _), length, s, found, lost in columns:
                table.write(_TABLE_ROW % (name, length, len(s), found, lost))
    logger.info(
        "prepare: %s: %d contigs, %d open frames, %d codons with ambiguous letters left out of them",
        *(fasta, contigs, frames, dropped),
    )
    if not frames:
        logger.warning("%s: no open frame in any contig: the result is empty", fasta)


def prepare_proteins(fasta: Path, output_dir: Path) -> None:
    """Write proteins in the letters that ESM-2 knows: proteins.faa, records.tsv and input.json, in input order.

    Lower case counts as upper case. J and a stop inside become X; gaps and a stop at the end are taken out. U, O, B
    and Z stay: they have tokens of their own. All of these are counted.

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
        for number, (name, sequence) in enumerate(read_fasta(fasta)):
            letters = sequence.encode("ascii", "replace").upper()
            residues = letters.translate(_UNKNOWN, _GAPS)
            if letters.endswith(b"*"):
                residues = residues[:-1]
            if odd := residues.translate(None, RESIDUES):
                raise _no_letter_of(fasta, number, name, sequence, odd, "amino acid")
            if len(residues) >= 50 and not residues.translate(None, b"ACGTUN"):
                raise UserError(
                    f"{locate(fasta, number)}: {name} looks like nucleotides; its type is contigs, not proteins"
                )
            odd_letters = len(letters.translate(None, AMINO_ACIDS))
            table.write(_TABLE_ROW % (name.encode(), len(residues), bool(residues), bool(residues), odd_letters))
            if residues:
                proteins_faa.write(b">%b\n%b\n" % (name.encode(), residues))
                proteins += 1
            else:
                _warn_empty(fasta, name)
            others += odd_letters
    for name in ("chunks.fna", "nucleotides.fna"):  # of when the sample was one of contigs
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


def _count(spans: npt.NDArray[np.int64]) -> range:
    return range(1, len(spans) + 1)


def _contigs(fasta: Path) -> Iterator[tuple[bytes, bytes]]:
    for number, (name, sequence) in enumerate(read_fasta(fasta)):
        letters = sequence.encode("ascii", "replace").upper()
        if odd := letters.translate(None, NUCLEOTIDES):
            raise _no_letter_of(fasta, number, name, sequence, odd, "IUPAC nucleotide")
        if not letters:
            _warn_empty(fasta, name)
        yield name.encode(), letters.replace(b"U", b"T")


def _no_letter_of(fasta: Path, number: int, name: str, sequence: str, odd: bytes, kind: str) -> UserError:
    """Return the error for a record with an odd letter, named as it stands in the file."""
    letter = next(c for c in sequence if c.encode("ascii", "replace").upper() == odd[:1])
    hint = (
        "; a table of samples says type proteins for proteins" if kind != "amino acid" and odd[:1] in RESIDUES else ""
    )
    return UserError(f"{locate(fasta, number, letter)}: {letter!r} in {name} is no {kind} code{hint}")


def _warn_empty(fasta: Path, name: str) -> None:
    logger.warning("%s: record %s is empty and is left out", fasta, name)


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
