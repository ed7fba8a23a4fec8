"""Reading FASTA: what is accepted, and what is said of the rest."""

import gzip
from pathlib import Path

import pytest

from virnucpro.data.fasta import read_fasta
from virnucpro.errors import UserError

RECORDS = [("a", "ACGTACGT"), ("b.1", "ACNNNacgt"), ("c|x", "")]


@pytest.mark.parametrize(
    "text",
    [
        ">a one\nACGTACGT\n>b.1\nACNNNacgt\n>c|x nothing\n",
        ">a\nACGT\nACGT\n>b.1\tdescribed\nACNN\nNacgt\n>c|x",
        ">a\r\nACGTACGT\r\n>b.1\r\nACNNN\r\nacgt\r\n>c|x\r\n",
        "\n\n>a\n\nACGT\n\nACGT\n>b.1\nACNNN acgt\n\n>c|x\n\n",
    ],
    ids=["plain", "wrapped", "windows", "blank lines"],
)
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_reads(tmp_path: Path, text: str, compress: bool) -> None:
    path = tmp_path / "contigs.fasta"  # the name says nothing about gzip: the first bytes do
    path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())
    assert list(read_fasta(path)) == RECORDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"@r1\nACGT\n+\nIIII\n", "not FASTA: it starts with '@r1'"),
        (b">a\nACGT\n>a\nAC\n", "two records are named 'a'"),
        (b">a\nACGT\n>\nAC\n", "record 2 has no id"),
        (bytes(range(256)), "not a text file"),
        (gzip.compress(b">a\n" + b"ACGT" * 10_000)[:40], "cannot be read to its end"),
    ],
    ids=["empty", "fastq", "twice", "no id", "binary", "truncated gzip"],
)
def test_refuses_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "contigs.fasta"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        list(read_fasta(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        list(read_fasta(tmp_path / "absent.fa"))
