"""prepare: the files of the original, byte for byte, against a second, slower implementation."""

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from Bio.Seq import Seq

from virnucpro.errors import UserError
from virnucpro.pipeline import prepare as stage
from virnucpro.pipeline.prepare import prepare_frames, prepare_proteins
from virnucpro.proteins.table import read_proteins
from virnucpro.proteins.translation import reverse_complement


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
    prepare_frames(write_fasta(contigs), tmp_path / "out", size)
    written = tuple((tmp_path / "out" / name).read_text() for name in ("chunks.fna", "nucleotides.fna", "proteins.faa"))
    assert written == original(contigs, size)


def test_short_chunks_have_names_of_their_own(write_fasta: Callable[..., Path], tmp_path: Path) -> None:
    """A contig that has no open frame in chunks of 40, but in chunks of 20, beside others so called."""
    closed = "TTTAAATCAAGGAAAAAAATATAAACGAATTATTTAAATA"
    fasta = write_fasta({"a": closed, "a_20bp": "GCC" * 9, "a_chunk20_1": "GCC" * 9})
    prepare_frames(fasta, tmp_path / "out", 40, short_chunks=[20])
    table = read_proteins(tmp_path / "out")
    of_a = table.loc[table["contig"] == "a", "protein"]
    assert len(of_a) > 0
    assert of_a.str.startswith("a_chunk20_").all()
    assert table["protein"].is_unique
    assert table["contig"].unique().tolist() == ["a", "a_20bp", "a_chunk20_1"]


def test_the_table_says_where_every_frame_lies(
    contigs: dict[str, str], write_fasta: Callable[..., Path], tmp_path: Path
) -> None:
    prepare_frames(write_fasta(contigs), tmp_path / "out", 150, orientation="canonical")
    table = read_proteins(tmp_path / "out")
    text = (tmp_path / "out" / "proteins.faa").read_text()
    assert len(table) == text.count(">") > 100
    for row in table.itertuples():
        residues = text[row.offset : row.offset + row.residues]
        assert text[row.offset - len(row.protein) - 2 : row.offset] == f">{row.protein}\n"
        assert text[row.offset + row.residues] == "\n"
        bases = contigs[row.contig][row.start : row.end]
        bases = bases if row.strand == "+" else reverse_complement(bases.encode()).decode()
        codons = (bases[i : i + 3] for i in range(0, len(bases), 3))
        assert str(Seq("".join(c for c in codons if set(c) <= set("ACGT"))).translate()) == residues
    assert set(table["kind"]) == {"frame"}
    assert set(table["partial"]) == {"both"}


@pytest.mark.parametrize("length", [1700, 2000, 333])
def test_a_contig_and_its_reverse_complement_have_the_same_frames(
    rng: random.Random, write_fasta: Callable[..., Path], tmp_path: Path, length: int
) -> None:
    contig = "".join(rng.choices("ACGR", [9, 9, 9, 1], k=length))
    opposite = reverse_complement(contig.encode()).decode()
    tables = []
    for number, sequence in enumerate((contig, opposite)):
        folder = tmp_path / str(number)
        prepare_frames(write_fasta({"c": sequence}), folder, 500, orientation="canonical")
        tables.append((read_proteins(folder), (folder / "proteins.faa").read_bytes()))
    (one, proteins), (other, same_proteins) = tables
    assert proteins == same_proteins != b""
    mirrored = other.assign(
        start=length - other["end"], end=length - other["start"], strand=other["strand"].map({"+": "-", "-": "+"})
    )
    pd.testing.assert_frame_equal(one, mirrored)


def test_contigs_that_become_proteins_leave_no_chunks(write_fasta: Callable[..., Path], tmp_path: Path) -> None:
    prepare_frames(write_fasta({"a": "GCC" * 10}), tmp_path / "out", 500)
    prepare_proteins(write_fasta({"a": "MKT"}), tmp_path / "out")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"proteins.faa", "proteins.tsv", "records.tsv"}


def test_what_a_killed_writer_left_is_removed(write_fasta: Callable[..., Path], tmp_path: Path) -> None:
    left = tmp_path / "out" / ".proteins.tsv.virnucpro-x1y2"
    left.mkdir(parents=True)
    (left / "proteins.tsv").write_text("half")
    prepare_frames(write_fasta({"a": "GCC" * 10}), tmp_path / "out", 500)
    assert not left.exists()


def test_lower_case_and_rna_are_read_as_upper_case_dna(write_fasta: Callable[..., Path], tmp_path: Path) -> None:
    prepare_frames(write_fasta({"a": "ATGGCCAAATTT"}, "dna.fa"), tmp_path / "dna", 12)
    prepare_frames(write_fasta({"a": "auggccaaauuu"}, "rna.fa"), tmp_path / "rna", 12)
    for name in ("chunks.fna", "nucleotides.fna", "proteins.faa", "records.tsv"):
        assert (tmp_path / "dna" / name).read_bytes() == (tmp_path / "rna" / name).read_bytes()


def test_table_of_contigs_counts_every_record(
    write_fasta: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_frames(
        write_fasta({"open": "GCC" * 4, "empty": "", "stops": "TAA" * 4, "n": "GCCNCCGCC"}), tmp_path / "out", 6
    )
    assert (tmp_path / "out" / "records.tsv").read_text().splitlines() == [
        "record\tlength\tcircular\tchunks\tproteins\tambiguous",
        "open\t12\t0\t2\t12\t0",
        "empty\t0\t0\t0\t0\t0",
        # TAATAA: all but F1 (TAA TAA) are open, in both chunks.
        "stops\t12\t0\t2\t10\t0",
        # GCCNCC: F1 and R1 (GGNGGC) keep one codon of two, the others none. CCGCC: all six are open.
        "n\t9\t0\t2\t8\t2",
    ]
    assert "record empty is empty and is left out" in caplog.text


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("MKTAY\nIAKQRELISF", r"line 5: 'I' in b is no IUPAC nucleotide code; .* type proteins"),
        ("ACGT\nACGT\nAC-GT", "line 6: '-' in b is no IUPAC nucleotide code$"),
        ("ACGTé", "line 4: 'é' in b is no"),
        ("acgtß", "line 4: 'ß' in b is no"),
    ],
)
def test_a_letter_that_is_no_nucleotide_leaves_nothing_behind(
    write_fasta: Callable[..., Path], tmp_path: Path, sequence: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prepare_frames(write_fasta({"a": "ACGT", "b": sequence}), tmp_path / "out", 500)
    assert not list((tmp_path / "out").iterdir())


def test_proteins_in_the_letters_of_esm2(
    write_fasta: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proteins = {"plain": "MKTAYI", "stop": "mkt*", "odd": "MJU*OBZ-X.K", "empty": "", "only": "*"}
    prepare_proteins(write_fasta(proteins), tmp_path)
    assert (tmp_path / "proteins.faa").read_text() == ">plain\nMKTAYI\n>stop\nMKT\n>odd\nMXUXOBZXK\n"
    assert [line.split("\t") for line in (tmp_path / "records.tsv").read_text().splitlines()[1:]] == [
        ["plain", "6", "0", "1", "1", "0"],
        ["stop", "3", "0", "1", "1", "1"],
        ["odd", "9", "0", "1", "1", "9"],
        ["empty", "0", "0", "0", "0", "0"],
        ["only", "0", "0", "0", "0", "1"],
    ]
    assert caplog.text.count("is empty and is left out") == 2


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("MKT4Y", "line 4: '4' in b is no amino acid code"),
        ("ACGTN" * 20, "looks like nucleotides; its type is contigs"),
    ],
)
def test_what_is_no_protein_is_refused(
    write_fasta: Callable[..., Path], tmp_path: Path, sequence: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prepare_proteins(write_fasta({"a": "MKT", "b": sequence}), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_no_open_frame_is_a_valid_empty_result(
    write_fasta: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_frames(write_fasta({"a": "AC"}), tmp_path / "out", 500)
    assert (tmp_path / "out" / "proteins.faa").read_text() == ""
    assert "no open frame in any contig" in caplog.text
