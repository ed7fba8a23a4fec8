"""prepare: the files of the original, byte for byte, by a second and slower way of making them."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from Bio.Seq import Seq

from virnucpro.errors import UserError
from virnucpro.pipeline import prepare as stage
from virnucpro.pipeline.prepare import prepare


def original(contigs: dict[str, str], size: int) -> tuple[str, str, str]:
    """Return chunks, nucleotides and proteins as the original VirNucPro writes them."""
    chunks = nucleotides = proteins = ""
    for name, sequence in contigs.items():
        n = -(-len(sequence) // size)
        q, r = divmod(n * size - len(sequence), n)
        for k in range(n):
            start = k * size - (k * q + min(k, q + r, n - 1))
            chunk = sequence[start : start + size]
            chunks += f">{name}_chunk_{k + 1}\n"
            chunks += "".join(f"{chunk[i : i + 60]}\n" for i in range(0, len(chunk), 60))
            opposite = chunk.translate(str.maketrans("ACGT", "TGCA"))[::-1]
            for letter, strand in (("F", chunk), ("R", opposite)):
                for f in range(3):
                    codons = (strand[i : i + 3] for i in range(f, len(strand) - 2, 3))
                    protein = str(Seq("".join(c for c in codons if set(c) <= set("ACGT"))).translate())
                    if protein and "*" not in protein:
                        header = f">{name}_chunk_{k + 1}{letter}{f + 1}\n"
                        nucleotides += f"{header}{strand[f : f + 1 + 3 * len(protein)]}\n"
                        proteins += f"{header}{protein}\n"
    return chunks, nucleotides, proteins


@pytest.fixture
def contigs(rng: random.Random) -> dict[str, str]:
    lengths = [1, 2, 3, 59, 60, 61, 149, 150, 151, 500, 1501, 3000]
    made = {f"c{n}": "".join(rng.choices("ACG", k=n)) for n in lengths}
    made["ambiguous"] = "".join(rng.choices("ACGN", [9, 9, 9, 1], k=700))
    made["stops"] = "TAA" * 300
    return made


@pytest.mark.parametrize("size", [150, 300, 500])
@pytest.mark.parametrize("block", [1, 1000, stage.BLOCK_BASES])
def test_bytes_of_the_original(
    contigs: dict[str, str],
    write_fasta: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    block: int,
) -> None:
    monkeypatch.setattr(stage, "BLOCK_BASES", block)
    prepare(write_fasta(contigs), tmp_path / "out", size)
    written = tuple((tmp_path / "out" / name).read_text() for name in ("chunks.fna", "frames.fna", "frames.faa"))
    assert written == original(contigs, size)


def test_lower_case_and_rna_are_read_as_upper_case_dna(write_fasta: Callable[..., Path], tmp_path: Path) -> None:
    prepare(write_fasta({"a": "ATGGCCAAATTT"}, "dna.fa"), tmp_path / "dna", 12)
    prepare(write_fasta({"a": "auggccaaauuu"}, "rna.fa"), tmp_path / "rna", 12)
    for name in ("chunks.fna", "frames.fna", "frames.faa", "contigs.tsv"):
        assert (tmp_path / "dna" / name).read_bytes() == (tmp_path / "rna" / name).read_bytes()


def test_table_of_contigs_counts_every_record(
    write_fasta: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(write_fasta({"open": "GCC" * 4, "empty": "", "stops": "TAA" * 4, "n": "GCCNCCGCC"}), tmp_path / "out", 6)
    assert (tmp_path / "out" / "contigs.tsv").read_text().splitlines() == [
        "contig\tlength\tchunks\tframes\tdropped_codons",
        "open\t12\t2\t12\t0",
        "empty\t0\t0\t0\t0",
        # TAATAA: all but F1 (TAA TAA) are open, in both chunks.
        "stops\t12\t2\t10\t0",
        # GCCNCC: F1 and R1 (GGNGGC) keep one codon of two, the others none. CCGCC: all six are open.
        "n\t9\t2\t8\t2",
    ]
    assert "record empty is empty and is left out" in caplog.text


@pytest.mark.parametrize(
    ("sequence", "message"),
    [("MKTAYIAKQRELISF", "b: 'I' is no IUPAC"), ("ACGT-ACGT", "b: '-' is no"), ("ACGTé", r"b: '\?' is no")],
)
def test_a_letter_that_is_no_nucleotide_leaves_nothing_behind(
    write_fasta: Callable[..., Path], tmp_path: Path, sequence: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prepare(write_fasta({"a": "ACGT", "b": sequence}), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_no_open_frame_is_a_valid_empty_result(
    write_fasta: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(write_fasta({"a": "AC"}), tmp_path / "out")
    assert (tmp_path / "out" / "frames.faa").read_text() == ""
    assert "no open frame in any contig" in caplog.text
