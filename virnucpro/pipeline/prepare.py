"""prepare: find genes or open frames in contigs, or check proteins, and write proteins and their table."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from virnucpro.data.fasta import sequence_format
from virnucpro.data.files import atomic_path, file_digest
from virnucpro.data.provenance import begin_writing, write_provenance
from virnucpro.data.records import Record, read_contigs, read_contigs_without_sequence, read_proteins
from virnucpro.errors import UserError
from virnucpro.proteins.frames import chunk_contigs, link_frames
from virnucpro.proteins.genes import find_genes
from virnucpro.proteins.own_genes import LeftOut, OwnGenes
from virnucpro.proteins.prodigal import read_genes
from virnucpro.proteins.table import ProteinWriter
from virnucpro.proteins.translation import reverse_complement

logger = logging.getLogger(__name__)

BLOCK_BASES = 4_000_000  # approximate size of a block of contigs; limits the memory
LINE = 60  # letters per line of chunks.fna, as in the original

OUTPUTS = ("proteins.faa", "proteins.tsv", "records.tsv")
OF_FRAMES = ("chunks.fna", "nucleotides.fna")  # further files with frames


def prepare_genes(fasta: Path, output_dir: Path, threads: int = 1, genes: Path | None = None) -> None:
    """Find the genes of contigs, or read them from a file.

    Writes into `output_dir`:

    - proteins.faa: Proteins of all genes, and of all open reading frames of contigs without a gene.
    - proteins.tsv: Their table (`virnucpro.proteins.table`).
    - records.tsv: Length, circularity, number of proteins and ambiguous codons of every contig, in the order of the
      input.

    The record is prepare.json beside the folder. It lists genes of a file that do not fit. Lower case counts as upper
    case and U as T. Genes in GenBank without sequences are the translations in the file.

    Args:
        genes: GFF3 or GenBank file; None uses the genes in `fasta` if it is one, and else pyrodigal-gv.

    Raises:
        UserError: The contigs cannot be read, or no gene in the file fits them.
    """
    own = _own_genes(fasta, genes)
    contigs = proteins = of_genes = 0
    inputs = {"genes": own.path} if own else {}
    details: dict[str, object] = {"left_out": own.left_out if own else []}
    source = read_contigs(fasta)
    if own and own.path == fasta and any(read_contigs_without_sequence(fasta)):
        source = read_contigs_without_sequence(fasta)
        details["without_sequence"] = True
    settings: dict[str, object] = {"type": "contigs", "proteins": "genes"}
    with _written(fasta, output_dir, settings, inputs=inputs, details=details) as (writer, write_record, _):
        for block in _blocks(source):
            contigs += len(block)
            of_block = map(own.of_contig, block) if own else find_genes(block, threads)
            for contig, found in zip(block, of_block, strict=True):
                for number, gene in enumerate(found, start=1):
                    row = gene._asdict()
                    name, residues = b"%b_%d" % (contig.name, number), row.pop("protein")
                    writer.write(name, residues, contig=contig.name, group=proteins, **row)
                    proteins += 1
                    of_genes += gene.kind == b"gene"
                write_record(contig, 0, len(found), sum(gene.protein.count(b"X") for gene in found))
        if own:
            own.warn_of_left_out(of_genes)
    logger.info(
        "prepare: %s: %d contigs, %d genes%s, %d open reading frames of contigs without any",
        *(fasta, contigs, of_genes, f" of {own.path}" if own else "", proteins - of_genes),
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

    Writes into `output_dir`:

    - chunks.fna: All chunks.
    - nucleotides.fna, proteins.faa: All open frames.
    - proteins.tsv: Their table (`virnucpro.proteins.table`).
    - records.tsv: Length, circularity, number of chunks and open frames, and dropped codons of every contig, in the
      order of the input.

    The record is prepare.json beside the folder. Lower case counts as upper case and U as T.

    Args:
        short_chunks: Sizes to try, in this order, for contigs without an open frame in chunks of `chunk_size`.
        genetic_codes: Codes to try besides the standard code 1, by NCBI's numbers.
        orientation: `given` counts chunks from the beginning of each contig, as the original does. `canonical` counts
            from the beginning of the strand that comes first in the alphabet, so that a contig and its reverse
            complement have the same chunks. Positions in the table are always on the given contig.

    Raises:
        UserError: The input cannot be read as FASTA of nucleotides with unique ids.
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
    with _written(fasta, output_dir, settings, of_frames=True) as (writer, write_record, files):
        chunks_fna, nucleotides_fna = files
        for block in _blocks(read_contigs(fasta)):
            contigs += len(block)
            oriented = [contig.letters for contig in block]
            if orientation == "canonical":
                oriented = [min(letters, reverse_complement(letters)) for letters in oriented]
            chunked = chunk_contigs(oriented, chunk_size, short_chunks, genetic_codes)
            for contig, letters, found in zip(block, oriented, chunked, strict=True):
                length, reversed_ = len(letters), letters != contig.letters
                # Short chunks have their size in their names, so that names are unique.
                size = b"" if found.chunk_size == chunk_size else b"%d" % found.chunk_size
                chunk_name = b"%b_chunk%b_%%d" % (contig.name.replace(b"%", b"%%"), size)
                for number, (begin, end) in enumerate(found.spans.tolist(), start=1):
                    lines = b"\n".join(letters[at : min(at + LINE, end)] for at in range(begin, end, LINE))
                    chunks_fna.write(b">%b\n%b\n" % (chunk_name % number, lines))
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
                lost = sum(frame.dropped_codons for frame in found.frames)
                write_record(contig, len(found.spans), len(found.frames), lost)
                frames += len(found.frames)
                dropped += lost
    logger.info(
        "prepare: %s: %d contigs, %d open frames, %d codons with ambiguous letters left out of them",
        *(fasta, contigs, frames, dropped),
    )
    if not frames:
        logger.warning("%s: no open frame in any contig: the result is empty", fasta)


def prepare_proteins(fasta: Path, output_dir: Path, as_frames: bool = False) -> None:
    """Write proteins in the letters of ESM-2: proteins.faa, proteins.tsv and records.tsv.

    Letters other than the 20 amino acids are counted and replaced as in `read_proteins`. With `as_frames` the
    stage writes empty files of chunks and nucleotides, which a run over frames expects.

    Raises:
        UserError: The input cannot be read as FASTA of proteins with unique ids.
    """
    proteins = others = 0
    with _written(fasta, output_dir, {"type": "proteins"}, as_frames) as (writer, write_record, _):
        for protein in read_proteins(fasta):
            there = bool(protein.letters)
            write_record(protein, there, there, protein.odd)
            others += protein.odd
            if there:
                writer.write(protein.name, protein.letters, group=proteins)
                proteins += 1
    logger.info("prepare: %s: %d proteins, %d letters other than the 20 amino acids", fasta, proteins, others)


def prepare_prodigal(fasta: Path, output_dir: Path) -> None:
    """Write the proteins of Prodigal as genes of their contigs: proteins.faa, proteins.tsv and records.tsv.

    Headers give the contig and the position of each gene. A contig ends with its last gene, because its sequence is not
    known. Letters are counted and replaced as in `read_proteins`. The record lists proteins without residues.

    Raises:
        UserError: The input cannot be read as FASTA of proteins, or a header is not Prodigal's.
    """
    contigs = proteins = 0
    left_out: list[LeftOut] = []
    settings: dict[str, object] = {"type": "prodigal", "proteins": "genes"}
    with _written(fasta, output_dir, settings, details={"left_out": left_out}) as (writer, write_record, _):
        for contig, genes in groupby(read_genes(fasta), key=lambda gene: gene[0].contig):
            before, others, length = proteins, 0, 0
            for place, protein in genes:
                length, others = max(length, place.end), others + protein.odd
                if protein.letters:
                    writer.write(protein.name, protein.letters, group=proteins, **place._asdict())
                    proteins += 1
                else:
                    name, strand = protein.name.decode(), place.strand.decode()
                    logger.warning("%s: record %s is empty and is left out", fasta, name)
                    reason = "nothing in the record"
                    left_out.append(LeftOut(name, contig.decode(), place.start + 1, place.end, strand, reason))
            write_record(Record(contig, b"", unknown=length), 0, proteins - before, others)
            contigs += 1
    logger.info(
        "prepare: %s: %d genes of Prodigal in %d contigs; a contig is taken to end with its last gene",
        *(fasta, proteins, contigs),
    )


def _own_genes(fasta: Path, genes: Path | None) -> OwnGenes | None:
    """Return the genes of a file, or None if pyrodigal-gv has to find them."""
    if genes is None and sequence_format(fasta) == "FASTA":
        return None
    own = OwnGenes(genes or fasta)
    if genes and not own.count:
        raise UserError(f"{genes}: no CDS in it; give a file with genes, or run without --genes")
    return own if own.count else None


@contextmanager
def _written(
    fasta: Path,
    folder: Path,
    settings: dict[str, object],
    of_frames: bool = False,
    inputs: Mapping[str, Path] | None = None,
    details: Mapping[str, object] | None = None,
) -> Iterator[tuple[ProteinWriter, Callable[[Record, int, int, int], None], list[BinaryIO]]]:
    """Yield a writer of proteins, a writer of rows of records.tsv, and open files of `OF_FRAMES`.

    On success all files are moved into place, with the stage's record. A row has the contig or protein, its number of
    chunks, of proteins, and of ambiguous codons or letters. `inputs` are read besides `fasta`, and `details` are for
    the record.
    """
    sequence_format(fasta)  # raises the errors
    read = {"fasta": fasta, **(inputs or {})}
    sources = {role: file_digest(path) for role, path in read.items()}
    names = (*OF_FRAMES, *OUTPUTS) if of_frames else OUTPUTS
    outputs = [folder / name for name in names]
    record = folder.parent / "prepare.json"
    begin_writing(record, [folder / name for name in (*OF_FRAMES, *OUTPUTS)])
    with ExitStack() as stack:
        paths = [stack.enter_context(atomic_path(path)) for path in outputs]
        files: list[BinaryIO] = [stack.enter_context(path.open("wb")) for path in paths]
        *of_frames_alone, proteins_faa, table, records = files
        records.write(b"record\tlength\tcircular\tchunks\tproteins\tambiguous\n")

        def write_record(of: Record, chunks: int, proteins: int, ambiguous: int) -> None:
            if not of.length:
                logger.warning("%s: record %s is empty and is left out", fasta, of.name.decode())
            row = (of.name, of.length, of.circular, chunks, proteins, ambiguous)
            records.write(b"%b\t%d\t%d\t%d\t%d\t%d\n" % row)

        yield ProteinWriter(proteins_faa, table), write_record, of_frames_alone
    for name in set(OF_FRAMES) - set(names):  # left from an earlier run over frames
        (folder / name).unlink(missing_ok=True)
    for role, path in read.items():
        if file_digest(path) != sources[role]:
            raise UserError(f"{path}: it changed while it was read; run the prepare stage again")
    write_provenance(record, "prepare", settings, sources, outputs, {"fasta": str(fasta), **(details or {})})


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
