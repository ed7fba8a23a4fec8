"""Reading FASTA: accepted files, and error messages for others."""

import bz2
import contextlib
import gzip
import io
import lzma
import random
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.data.fasta import read_fasta
from virnucpro.data.records import read_proteins
from virnucpro.errors import UserError
from virnucpro.pipeline.prepare import prepare_frames, prepare_proteins

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo("contigs.fasta"), content)
    return archive.getvalue()


COMPRESSIONS = [bytes, gzip.compress, bz2.compress, lzma.compress, zstd.compress]

RECORDS = [("a", "ACGTACGT"), ("b.1", "ACNNNacgt"), ("c|x", "")]


@pytest.mark.parametrize(
    "text",
    [
        ">a one\nACGTACGT\n>b.1\nACNNNacgt\n>c|x nothing\n",
        ">a\nACGT\nACGT\n>b.1\tdescribed\nACNN\nNacgt\n>c|x",
        ">a\r\nACGTACGT\r\n>b.1\r\nACNNN\r\nacgt\r\n>c|x\r\n",
        "\ufeff>a\r\nACGTACGT\r\n>b.1\r\nACNNNacgt\r\n>c|x",
        "\n\n>a\n\nACGT\n\nACGT\n>b.1\nACNNN acgt\n\n>c|x\n\n",
    ],
    ids=["plain", "wrapped", "windows", "windows with a mark", "blank lines"],
)
@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_reads(tmp_path: Path, text: str, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "contigs.fasta"  # compression is detected by the first bytes, not by the name
    path.write_bytes(compress(text.encode()))
    assert list(read_fasta(path)) == RECORDS


@pytest.mark.parametrize("compress", COMPRESSIONS[1:])
def test_reads_a_file_of_several_compressed_parts_to_its_end(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "contigs.fasta"
    path.write_bytes(compress(b">a\nACGT") + compress(b"ACGT\n>b.1\n") + compress(b"ACNNNacgt\n>c|x\n"))
    assert list(read_fasta(path)) == RECORDS


def test_reads_what_pzstd_writes(tmp_path: Path) -> None:
    frame = zstd.compress(b">a\nACGT\n")
    path = tmp_path / "contigs.fasta"
    path.write_bytes(b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + len(frame).to_bytes(4, "little") + frame)
    assert list(read_fasta(path)) == [("a", "ACGT")]


@pytest.mark.parametrize("mark", ["\u00a0", "\u00ad", "\u202f", "\x01"])
def test_the_first_header_is_read_as_any_other(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "contigs.fasta"
    header = f"protein{mark}[Escherichia coli]{mark}WP_2 another"
    path.write_text(f">WP_1 {header}\nACGT\n>WP_3 {header}\nAC\n", encoding="utf-8")
    assert list(read_fasta(path)) == [("WP_1", "ACGT"), ("WP_3", "AC")]


def test_a_space_may_stand_before_an_id(tmp_path: Path) -> None:
    path = tmp_path / "contigs.fasta"
    path.write_text("> a\nACGT\n>\tb one\nAC\n")
    assert list(read_fasta(path)) == [("a", "ACGT"), ("b", "AC")]


def test_old_encodings_in_descriptions_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "contigs.fasta"
    path.write_bytes(">a isolated in Württemberg\nACGT\n".encode("latin-1"))
    assert list(read_fasta(path)) == [("a", "ACGT")]


# Without a time stamp: the workers of pytest-xdist must make the same test ids.
gzipped = partial(gzip.compress, mtime=0)
LONG = b">a\n" + random.Random(0).randbytes(20_000).hex().upper().encode()
GENBANK = b"LOCUS       a           4 bp    DNA     linear   PHG 01-JAN-2000\nORIGIN\n        1 acgt\n//\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (gzipped(b""), "the file is empty"),
        (b"@r1\nACGT\n+\nIIII\n", "FASTQ, not FASTA"),
        (b"LOCUS       NC_001416", "cannot be read as GenBank to its end"),
        (b"##gff-version 3\nc1\t.\tCDS\t1\t9\t.\t+\t0\tID=a\n", "GFF3 without sequences; give the contigs as FASTA"),
        (b">a\nACGT\n\n>a\nAC\n", "line 4: two records are named a"),
        (2 * GENBANK, "line 5: two records are named a"),
        (b">a\nACGT\n>\nAC\n", "line 3: the record has no id"),
        (b">a\nACGT\n>b\0c\nAC\n", "line 3: the record has the id .* unprintable"),
        (b">a\nACGT\n>\xff\nAC\n", "line 3: the record has the id .* unprintable"),
        (b"> \nACGT\n", "line 1: the record has no id"),
        (b">\0a\nACGT\n", "line 1: the record has the id .* unprintable"),
        (b"\n >a\nACGT\n", "line 2: something stands before '>'"),
        (b">a\nACGT\n\t>b\nAC\n", "line 3: something stands before '>'"),
        (b">a\nACGT\n>b\nAC\nAC>c\nAC\n", "line 5: something stands before '>'"),
        (bytes(range(256)), "a binary file; FASTA is text, plain or compressed by gzip, bzip2, xz or zstd"),
        (">a\nACGT\n".encode("utf-16"), "a binary file"),
        (zipped(b">a\nACGT\n"), "a zip archive; unzip it"),
        (gzipped(LONG)[:-2000], "cannot be read to its end"),
        (bz2.compress(LONG)[:-2000], "cannot be read to its end"),
        (lzma.compress(LONG)[:-2000], "cannot be read to its end"),
        (zstd.compress(LONG)[:-2000], "cannot be read to its end"),
        (zstd.compress(LONG) + b"garbage", "cannot be read to its end"),
        (b"\x28\xb5\x2f\xfdgarbage", "cannot be read to its end"),
        (gzipped(LONG)[:9000] + b"\xff" * 50 + gzipped(LONG)[9050:], "cannot be read to its end"),
        (b"\x1f\x8bgarbage", "cannot be read to its end"),
    ],
)
def test_refuses_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "contigs.fasta"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        list(read_fasta(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_the_system_refuses(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 256)
    with pytest.raises(UserError, match=f"^{path}: File name too long; give a shorter path$"):
        list(read_fasta(path))


@given(st.one_of(st.binary(), st.text().map(str.encode), st.from_regex(rb"(>\w*[ \w]*\r?\n[A-Z*\-\n]*)+")), st.data())
def test_no_bytes_make_a_traceback(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    compressed = data.draw(st.sampled_from(COMPRESSIONS))(content)
    path = tmp_path / "fuzzed"
    path.write_bytes(
        compressed[: data.draw(st.integers(0, len(compressed)))] if data.draw(st.booleans()) else compressed
    )
    with contextlib.suppress(UserError):
        prepare_frames(path, tmp_path / "out", 500)
    with contextlib.suppress(UserError):
        prepare_proteins(path, tmp_path / "out")


def test_the_beginning_of_a_file_is_less_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "long.fa").write_text("".join(f">{number}\n{'ACGT' * 250}\n" for number in range(1000)))
    beginning = list(read_fasta(tmp_path / "long.fa", beginning=True))
    assert 10 < len(beginning) < 200
    assert beginning[0] == ("0", "ACGT" * 250)


def test_a_wrong_letter_of_a_protein_is_found_in_its_record(tmp_path: Path) -> None:
    (tmp_path / "a.faa").write_text(">a\nMKTT\n>b\nMKV\nM4T\n>c\nMK4\n")
    with pytest.raises(UserError, match=r"a\.faa: line 5: '4' in b is no amino acid code"):
        list(read_proteins(tmp_path / "a.faa"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        list(read_fasta(tmp_path / "absent.fa"))
    (tmp_path / "a.fa").write_text(">a\nACGT\n")
    with pytest.raises(UserError, match="no such file"):
        list(read_fasta(tmp_path / "a.fa" / "b.fa"))
    with pytest.raises(UserError, match="a folder"):
        list(read_fasta(tmp_path))


@pytest.mark.parametrize("end", ["*", "*-", "-*--", "*."])
def test_a_stop_at_the_end_goes_with_the_gaps_around_it(tmp_path: Path, end: str) -> None:
    path = tmp_path / "proteins.faa"
    path.write_text(f">a\nM-K*T{end}\n")
    assert [protein.letters for protein in read_proteins(path)] == [b"MKXT"]


LAMBDA_CI = "MSTKKKPLTQEQLEDARRLKAIYEKKKNELGLSQESVADKMGMGQSGVGALFNGINALNAYNAALLAKILKVSVEEFSPSIAREIYEMYEAVS"


@pytest.mark.parametrize(
    "proteins",
    [
        ["A" * 60],
        ["N" * 60],
        ["N" * 60, LAMBDA_CI],
        [LAMBDA_CI, "GCATGCAATT" * 8],
        ["GAGTGAGA" * 10],
        ["GATTACA" * 7],
        ["GATTACA" * 9 + "MKLEDFS"],
    ],
    ids=[
        "alanine alone",
        "asparagine alone",
        "asparagine first",
        "odd among others",
        "no cysteine",
        "short",
        "a tenth",
    ],
)
def test_proteins_of_few_amino_acids_are_no_nucleotides(tmp_path: Path, proteins: list[str]) -> None:
    path = tmp_path / "proteins.faa"
    path.write_text("".join(f">{number}\n{protein}\n" for number, protein in enumerate(proteins)))
    assert [protein.letters.decode() for protein in read_proteins(path)] == proteins


@pytest.mark.parametrize(
    "contigs",
    [
        ["ACGT" * 20],
        ["acgu" * 20],
        ["RYSWKMBDH" + "ACGT" * 21],
        ["N" * 60 + "ACGT" * 20],
        ["ACGT"] * 13,
    ],
    ids=["DNA", "RNA", "IUPAC", "behind N", "in short records"],
)
def test_nucleotides_are_no_proteins(tmp_path: Path, contigs: list[str]) -> None:
    path = tmp_path / "contigs.fna"
    path.write_text("".join(f">{number}\n{contig}\n" for number, contig in enumerate(contigs)))
    with pytest.raises(UserError, match=rf"^{path}: looks like nucleotides; its type is contigs, not proteins$"):
        list(read_proteins(path))
