"""Reading FASTA: what is accepted, and what is said of the rest."""

import bz2
import contextlib
import gzip
import lzma
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.data.fasta import read_fasta
from virnucpro.errors import UserError
from virnucpro.pipeline.prepare import prepare_contigs, prepare_proteins

COMPRESSIONS = [bytes, gzip.compress, bz2.compress, lzma.compress]

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
    path = tmp_path / "contigs.fasta"  # the name says nothing of the compression: the first bytes do
    path.write_bytes(compress(text.encode()))
    assert list(read_fasta(path)) == RECORDS


def test_old_encodings_in_descriptions_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "contigs.fasta"
    path.write_bytes(">a isolated in Württemberg\nACGT\n".encode("latin-1"))
    assert list(read_fasta(path)) == [("a", "ACGT")]


# Without a time stamp: the workers of pytest-xdist must make the same test ids.
gzipped = partial(gzip.compress, mtime=0)
LONG = b">a\n" + random.Random(0).randbytes(20_000).hex().upper().encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (gzipped(b""), "the file is empty"),
        (b"@r1\nACGT\n+\nIIII\n", "FASTQ, not FASTA"),
        (b"LOCUS       NC_001416", "not FASTA: it starts with 'LOCUS"),
        (b">a\nACGT\n\n>a\nAC\n", "line 4: two records are named a"),
        (b">a\nACGT\n>\nAC\n", "line 3: the record has no id"),
        (b">a\nACGT\n>b\0c\nAC\n", "line 3: the record has the id .* unprintable"),
        (b">a\nACGT\n>\xff\nAC\n", "line 3: the record has the id .* unprintable"),
        (bytes(range(256)), "a binary file"),
        (gzipped(LONG)[:-2000], "cannot be read to its end"),
        (bz2.compress(LONG)[:-2000], "cannot be read to its end"),
        (lzma.compress(LONG)[:-2000], "cannot be read to its end"),
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


@given(st.one_of(st.binary(), st.text().map(str.encode), st.from_regex(rb"(>\w*[ \w]*\r?\n[A-Z*\-\n]*)+")), st.data())
def test_no_bytes_make_a_traceback(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    compressed = data.draw(st.sampled_from(COMPRESSIONS))(content)
    path = tmp_path / "fuzzed"
    path.write_bytes(
        compressed[: data.draw(st.integers(0, len(compressed)))] if data.draw(st.booleans()) else compressed
    )
    for prepare in (prepare_contigs, prepare_proteins):
        with contextlib.suppress(UserError):
            prepare(path, tmp_path / "out")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        list(read_fasta(tmp_path / "absent.fa"))
    with pytest.raises(UserError, match="a folder"):
        list(read_fasta(tmp_path))
