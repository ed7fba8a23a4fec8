"""references: records of a folder's FASTA and GenBank files, with names and lineages, found again by their proteins."""

import gzip
import logging
import random
import re
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from virnucpro.data.fasta import read_fasta
from virnucpro.data.provenance import read_provenance
from virnucpro.data.records import Record
from virnucpro.errors import UserError
from virnucpro.naming import RANKS
from virnucpro.naming.kmers import shared_kmers, sketch
from virnucpro.naming.references import References, load_references
from virnucpro.pipeline import references as stage
from virnucpro.pipeline.references import make_references_file
from virnucpro.proteins.genes import find_genes

GENOMES = [sequence for _, sequence in read_fasta(ROOT / "config" / "demo.fna.gz")]
LAMBDA, T7, OTHER = (sequence[:9000] for sequence in GENOMES[:3])
LINEAGE = "Viruses; Duplodnaviria; Heunggongvirae; Uroviricota;\n            Caudoviricetes; Lambdavirus; no taxon."


def genbank(
    locus: str, sequence: str, version: str = "", organism: str = "", lineage: str = "", topology: str = "linear"
) -> str:
    source = f"SOURCE      {organism}\n  ORGANISM  {organism}\n            {lineage}\n" if organism else ""
    origin = "".join(f"{at + 1:9} {sequence[at : at + 60].lower()}\n" for at in range(0, len(sequence), 60))
    return (
        f"LOCUS       {locus:<16} {len(sequence):>11} bp    DNA     {topology:<8} PHG 01-JAN-2000\n"
        f"{f'VERSION     {version}' if version else 'DEFINITION  .'}\n{source}"
        f"FEATURES             Location/Qualifiers\n     source          1..{len(sequence)}\nORIGIN\n{origin}//\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "viruses").mkdir()
    return tmp_path / "viruses"


def made(folder: Path) -> References:
    output = folder.parent / "references.npz"
    make_references_file(folder, output)
    return load_references(output)


def shares(references: References, sequence: str, circular: bool = False) -> dict[str, float]:
    """Return the share of a sequence's k-mers that references have, by their ids."""
    (genes,) = find_genes([Record(b"x", sequence.encode(), circular=circular)])
    hits = shared_kmers(sketch([gene.protein for gene in genes], np.zeros(len(genes), np.int64)), references.index)
    found = hits["shared"] / hits["kmers"]
    return dict(zip(references.table["record"][hits["reference"]], found, strict=True))


def test_records_of_all_files_are_references(folder: Path) -> None:
    (folder / "b.fna.gz").write_bytes(gzip.compress(f">seven  Phage\tT7 \n{T7}\n>other\n{OTHER.lower()}\n".encode()))
    (folder / "a.gbk").write_text(genbank("LAM", LAMBDA, "NC_1.1", "Escherichia phage Lambda", LINEAGE))
    (folder / "c.GB.gz").write_bytes(gzip.compress(genbank("BARE", LAMBDA[::-1].replace("T", "U"), ".").encode()))
    (folder / "below").mkdir()
    (folder / "below" / "d.fna").write_text(f">deep\n{OTHER}\n")
    references = made(folder)
    table = references.table
    assert table["record"].tolist() == ["NC_1.1", "seven", "other", "BARE"]
    assert table["name"].tolist() == ["Escherichia phage Lambda", "Phage T7", "other", "BARE"]
    lineage = ["Duplodnaviria", "Heunggongvirae", "Uroviricota", "Caudoviricetes", "", "", "Lambdavirus", ""]
    assert table[[*RANKS, "species"]].to_numpy().tolist() == [lineage, *3 * [8 * [""]]]
    for sequence, record in ((LAMBDA, "NC_1.1"), (T7, "seven"), (OTHER, "other"), (LAMBDA[::-1], "BARE")):
        assert shares(references, sequence) == {record: 1}
    noted = read_provenance(folder.parent / "references.json", "references")
    assert list(noted.inputs) == ["a.gbk", "b.fna.gz", "c.GB.gz"]
    assert list(noted.outputs) == ["references.npz"]
    assert noted.details == {"references": 4}


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.gb", genbank("a", T7, topology="circular")), ("a.fa", f">a circular=true\n{T7}\n")],
    ids=["GenBank", "FASTA"],
)
def test_a_circle_has_the_genes_over_its_origin(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    assert shares(made(folder), T7[4500:] + T7[:4500], circular=True) == {"a": 1}


def test_blocks_and_threads_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.fa").write_text("".join(f">a{n}\n{LAMBDA[n * 900 : n * 900 + 3000]}\n" for n in range(5)))
    made(folder)
    monkeypatch.setattr(stage, "BLOCK", 2)
    make_references_file(folder, folder.parent / "again.npz", threads=2, key="k")
    assert (folder.parent / "again.npz").read_bytes() == (folder.parent / "references.npz").read_bytes()
    assert read_provenance(folder.parent / "again.json", "references").key == "k"


def test_what_is_left_out_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    without = re.sub(r"ORIGIN\n(?s:.*)//", "CONTIG      join(X.1:1..9)\n//", genbank("W", T7, "W.1"))
    (folder / "a.gb").write_text(without + genbank("L", LAMBDA, "L.1"))
    (folder / "b.fa").write_text(">short\nACGT\n")
    (folder / "notes.txt").write_text("mine")
    (folder / ".notes").write_text("hidden")
    assert made(folder).table["record"].tolist() == ["L.1", "short"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{folder}/notes.txt is left out: its suffix is not of a FASTA or GenBank file",
        f"{folder}/a.gb: record W.1 has no sequence and is left out",
        f"{folder}: record short has no protein that can be compared",
    ]


SHORT = LAMBDA[:600]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "references: FOLDER: no FASTA and no GenBank file in it, such as x.fna"),
        ({"a.txt": ">a\nACGT\n"}, "references: FOLDER: no FASTA and no GenBank file in it, such as x.fna"),
        ({"a.fa": "LOCUS a"}, "FOLDER/a.fa: not GenBank: no line begins with LOCUS"),
        ({"a.gb": f">a\n{SHORT}\n"}, "FOLDER/a.gb: not GenBank: no line begins with LOCUS; rename it with the suffix"),
        ({"a.gb": ""}, "FOLDER/a.gb: not GenBank: no line begins"),
        ({"a.gb": genbank("a", SHORT)[:400]}, "FOLDER/a.gb: cannot be read as GenBank to its end: Premature end"),
        ({"a.gb": genbank("a", "MKTAYIAKQR")}, "FOLDER/a.gb: 'I' in a is no IUPAC nucleotide code; give"),
        ({"a.fa": ">a\nMKTAY\nIAKQR\n"}, "FOLDER/a.fa: line 3: 'I' in a is no IUPAC nucleotide code"),
        ({"a.fa": f">a\n{SHORT}\n>b\n"}, "FOLDER/a.fa: record b has no sequence; add it, or delete the record"),
        ({"a.gb": genbank("a", "")}, "FOLDER: no protein in any record; add FASTA files, or"),
        (
            {"a.fa": f">a.1\n{SHORT}\n", "b.gb": genbank("a", SHORT, "a.1")},
            "FOLDER/b.gb: record a.1 is in FOLDER/a.fa too; delete or rename one of them",
        ),
        ({"a.gb": genbank("a", SHORT) * 2}, "FOLDER/a.gb: record a is in FOLDER/a.gb too; delete or rename"),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(UserError) as caught:
        made(folder)
    text = str(caught.value).replace(str(folder), "FOLDER")
    assert text.startswith(message)
    assert "\n" not in text
    assert not list(folder.parent.glob("references.*"))


def test_what_is_wrong_with_the_folder_or_a_compressed_file(folder: Path) -> None:
    (folder / "a.gb.gz").write_bytes(gzip.compress(random.Random(0).randbytes(5000) + b"\nLOCUS")[:-9])
    with pytest.raises(UserError, match=r"/a.gb.gz: cannot be read as GenBank to its end: Compressed file ended"):
        made(folder)
    with pytest.raises(UserError, match=r"^references: .*/a.gb.gz: cannot be read: Not a directory; give"):
        make_references_file(folder / "a.gb.gz", folder / "x.npz")
    with pytest.raises(UserError, match=r"^references: .*/absent: cannot be read: No such file or directory; give"):
        make_references_file(folder / "absent", folder / "x.npz")


def test_more_than_fit_into_an_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MOST", 2)
    (folder / "a.fa").write_text(f">a\n{LAMBDA}\n>b\nACGT\n")
    assert len(made(folder).table) == 2
    (folder / "b.fa").write_text(">c\nACGT\n")
    with pytest.raises(UserError, match=r"/b.fa: more than 2 records in the folder; take out"):
        made(folder)
