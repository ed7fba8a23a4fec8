"""prepare: contigs to genes or open frames, or proteins to the letters that the model knows, and the table of them."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

from virnucpro.data.fasta import check_fasta
from virnucpro.data.files import atomic_path, file_digest
from virnucpro.data.provenance import begin_writing, write_provenance
from virnucpro.data.records import Record, read_contigs, read_proteins
from virnucpro.errors import UserError
from virnucpro.proteins.frames import chunk_contigs, link_frames
from virnucpro.proteins.genes import find_genes
from virnucpro.proteins.table import ProteinWriter
from virnucpro.proteins.translation import reverse_complement

logger = logging.getLogger(__name__)

BLOCK_BASES = 4_000_000  # contigs are worked on in blocks of about this size, which bounds the memory
LINE = 60  # letters a line of chunks.fna, as in the original

OUTPUTS = ("proteins.faa", "proteins.tsv", "records.tsv")
OF_FRAMES = ("chunks.fna", "nucleotides.fna")  # are written beside them

_RECORDS_HEAD = b"record\tlength\tchunks\tproteins\tambiguous\n"
_RECORDS_ROW = b"%b\t%d\t%d\t%d\t%d\n"


def prepare_genes(fasta: Path, output_dir: Path, threads: int = 1) -> None:
    """Find the genes of contigs.

    Writes into `output_dir`: proteins.faa, of every gene, and of every open reading frame of contigs without any;
    proteins.tsv, the table of them (`virnucpro.proteins.table`); records.tsv with length, proteins and codons with
    ambiguous letters in these of every contig, in input order. Its record is prepare.json beside the folder.

    Args:
        fasta: contigs. Lower case counts as upper case and U as T.
        output_dir: folder for these files.
        threads: that find genes at once.

    Raises:
        UserError: the input cannot be read as FASTA of nucleotides with unique ids.
    """
    settings: dict[str, object] = {"type": "contigs", "proteins": "genes"}
    contigs = proteins = genes = 0
    with _written(fasta, output_dir, OUTPUTS, settings) as (proteins_faa, table, records):
        writer = ProteinWriter(proteins_faa, table)
        for block in _blocks(read_contigs(fasta)):
            contigs += len(block)
            for contig, found in zip(block, find_genes(block, threads), strict=True):
                for number, gene in enumerate(found, start=1):
                    row = gene._asdict()
                    name, residues = b"%b_%d" % (contig.name, number), row.pop("protein")
                    writer.write(name, residues, contig=contig.name, group=proteins, **row)
                    proteins += 1
                    genes += gene.kind == b"gene"
                if not contig.letters:
                    _warn_empty(fasta, contig)
                unknown = sum(gene.protein.count(b"X") for gene in found)
                records.write(_RECORDS_ROW % (contig.name, len(contig.letters), 0, len(found), unknown))
    logger.info(
        "prepare: %s: %d contigs, %d genes, %d open reading frames of contigs without any",
        *(fasta, contigs, genes, proteins - genes),
    )
    if not proteins:
        logger.warning("%s: no open reading frame in any contig: the result is empty", fasta)


def prepare_frames(
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
    every contig, in input order. Its record is prepare.json beside the folder.

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
        "proteins": "frames",
        "chunk_size": chunk_size,
        "short_chunks": list(short_chunks),
        "genetic_codes": list(genetic_codes),
        "orientation": orientation,
    }
    contigs = frames = groups = dropped = 0
    with _written(fasta, output_dir, (*OF_FRAMES, *OUTPUTS), settings) as files:
        chunks_fna, nucleotides_fna, proteins_faa, table, records = files
        writer = ProteinWriter(proteins_faa, table)
        for block in _blocks(read_contigs(fasta)):
            contigs += len(block)
            oriented = [_orient(contig.letters, orientation) for contig in block]
            chunked = chunk_contigs([letters for letters, _ in oriented], chunk_size, short_chunks, genetic_codes)
            for contig, (letters, reversed_), found in zip(block, oriented, chunked, strict=True):
                length = len(letters)
                chunk_name = _chunk_name(contig.name, found.chunk_size, chunk_size)
                for number, (begin, end) in enumerate(found.spans.tolist(), start=1):
                    chunks_fna.write(b">%b\n%b\n" % (chunk_name % number, _wrap(letters[begin:end])))
                linked = link_frames(found.frames)
                for frame, group in zip(found.frames, linked, strict=True):
                    name = chunk_name % (frame.chunk + 1) + frame.name.encode()
                    nucleotides_fna.write(b">%b\n%b\n" % (name, frame.nucleotides))
                    writer.write(
                        name,
                        frame.protein,
                        contig=contig.name,
                        start=length - frame.end if reversed_ else frame.start,
                        end=length - frame.start if reversed_ else frame.end,
                        strand=b"+" if (frame.name[0] == "F") != reversed_ else b"-",
                        kind=b"frame",
                        genetic_code=found.genetic_code,
                        partial=b"both",
                        group=groups + group,
                        chunk=frame.chunk + 1,
                    )
                groups += max(linked, default=-1) + 1
                if not letters:
                    _warn_empty(fasta, contig)
                lost = sum(frame.dropped_codons for frame in found.frames)
                records.write(_RECORDS_ROW % (contig.name, length, len(found.spans), len(found.frames), lost))
                frames += len(found.frames)
                dropped += lost
    logger.info(
        "prepare: %s: %d contigs, %d open frames, %d codons with ambiguous letters left out of them",
        *(fasta, contigs, frames, dropped),
    )
    if not frames:
        logger.warning("%s: no open frame in any contig: the result is empty", fasta)


def prepare_proteins(fasta: Path, output_dir: Path, as_frames: bool = False) -> None:
    """Write proteins in the letters that ESM-2 knows: proteins.faa, proteins.tsv and records.tsv.

    Letters other than the 20 amino acids are counted; `read_proteins` says what becomes of them.

    Args:
        fasta: proteins.
        output_dir: folder for these files.
        as_frames: write empty files for chunks and nucleotides as well, as a run over frames expects them.

    Raises:
        UserError: the input cannot be read as FASTA of proteins with unique ids.
    """
    proteins = others = 0
    names = (*OF_FRAMES, *OUTPUTS) if as_frames else OUTPUTS
    with _written(fasta, output_dir, names, {"type": "proteins"}) as files:
        proteins_faa, table, records = files[-len(OUTPUTS) :]
        writer = ProteinWriter(proteins_faa, table)
        for protein in read_proteins(fasta):
            length = len(protein.letters)
            records.write(_RECORDS_ROW % (protein.name, length, length > 0, length > 0, protein.odd))
            others += protein.odd
            if length:
                writer.write(protein.name, protein.letters, group=proteins)
                proteins += 1
            else:
                _warn_empty(fasta, protein)
    logger.info("prepare: %s: %d proteins, %d letters other than the 20 amino acids", fasta, proteins, others)


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
    source = file_digest(fasta)
    outputs = [folder / name for name in names]
    record = folder.parent / "prepare.json"
    begin_writing(record, [folder / name for name in (*OF_FRAMES, *OUTPUTS)])
    with ExitStack() as stack:
        paths = [stack.enter_context(atomic_path(path)) for path in outputs]
        files: list[BinaryIO] = [stack.enter_context(path.open("wb")) for path in paths]
        files[names.index("records.tsv")].write(_RECORDS_HEAD)
        yield files
    for name in set(OF_FRAMES) - set(names):  # the sample may have been read in frames before
        (folder / name).unlink(missing_ok=True)
    if file_digest(fasta) != source:
        raise UserError(f"{fasta}: it changed while it was read; run the prepare stage again")
    write_provenance(record, "prepare", settings, {"fasta": source}, outputs, {"fasta": str(fasta)})


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
