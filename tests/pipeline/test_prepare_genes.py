"""prepare with genes: the files that it writes."""

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from virnucpro.data.files import file_digest
from virnucpro.data.records import read_contigs
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError
from virnucpro.pipeline import prepare as stage
from virnucpro.pipeline.prepare import prepare_frames, prepare_genes
from virnucpro.proteins.genes import find_genes
from virnucpro.proteins.table import read_proteins

DEMO = ROOT / "config" / "demo.fna.gz"


def test_the_files_hold_every_gene_of_every_contig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "BLOCK_BASES", 100_000)
    prepared = tmp_path / "prepared"
    prepare_genes(DEMO, prepared, threads=2)
    contigs = list(read_contigs(DEMO))
    expected = [(c, f"{c.name.decode()}_{k}", g) for c in contigs for k, g in enumerate(*find_genes([c]), start=1)]
    table = read_proteins(prepared)
    text = (prepared / "proteins.faa").read_text()
    assert text == "".join(f">{name}\n{gene.protein.decode()}\n" for _, name, gene in expected)
    assert len(table) == len(expected) > 300
    for number, (row, (contig, name, gene)) in enumerate(zip(table.itertuples(), expected, strict=True)):
        assert (row.protein, row.contig, row.start, row.end) == (name, contig.name.decode(), gene.start, gene.end)
        assert (row.strand, row.kind, row.partial) == tuple(b.decode() for b in (gene.strand, gene.kind, gene.partial))
        assert (row.genetic_code, row.group, row.chunk) == (11, number, 0)
        assert text[row.offset : row.offset + row.residues] == gene.protein.decode()
    assert (prepared / "records.tsv").read_text().splitlines()[:3] == [
        "record\tlength\tcircular\tchunks\tproteins\tambiguous",
        "lambda_NC_001416.1\t48502\t0\t0\t62\t0",
        "T7_NC_001604.1\t39937\t0\t0\t49\t0",
    ]
    record = json.loads((prepared.parent / "prepare.json").read_text())
    assert record["settings"] == {"type": "contigs", "proteins": "genes"}


def test_files_are_the_same_bytes_whatever_the_threads(
    tmp_path: Path, write_fasta: Callable[..., Path], rng: random.Random
) -> None:
    (_, t7, *_) = read_contigs(DEMO)
    genome = t7.letters.decode()
    begins = [rng.randrange(len(genome) - 3000) for _ in range(30)]
    fasta = write_fasta({f"c{begin}": genome[begin : begin + rng.randint(50, 3000)] for begin in begins})
    prepare_genes(fasta, tmp_path / "one")
    prepare_genes(fasta, tmp_path / "more", threads=4)
    for name in stage.OUTPUTS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "more" / name).read_bytes()


# Headers of circular contigs, as the documentation of assemblers shows them.
CIRCULAR = {
    "1 length=5386 depth=1.00x circular=true": "Unicycler",
    "2 circular=True topology=circular": "Autocycler",
    "3 length=5386 coverage=12 circular=yes": "metaMDBG",
    "4 len=5386 cov=12.0 circular=Y origname=contig_1": "dragonflye",
    "tig00000001 len=5386 class=contig suggestRepeat=no suggestBubble=no suggestCircular=yes trim=0-6000": "Canu",
    "Utg548 LN:i:5386 RC:i:12 XO:i:1": "Raven",
    "s1.ctg000001c": "hifiasm-meta",
    "ptg000002c": "hifiasm",
    "utg000003c": "miniasm",
    "u913ctg_len-5386_circular-yes_depth-10-10-10_duplicated-no": "myloasm",
    "NODE_1_length_5386_cov_9.5_cutoff_5_type_circular": "metaviralSPAdes",
    "5 [topology=circular]": "NCBI",
    "6 Topology=Circular": "SKESA",
    "k141_7 flag=3 multi=12.5000 len=5386": "MEGAHIT",
}
LINEAR = [
    *("line", "e circular=false", "f topology=linear circular", "circular=true", "7 not-circular=true", "8 circular=N"),
    *(
        "9 suggestCircular=no",
        "Utg1 XO:i:0",
        "s1.ctg000001l",
        "ptg000002l",
        "contig_1c",
        "tg1c",
        "11 circular=yesterday",
    ),
    *("k141_8 flag=1 multi=3.0000 len=5386", "k141_9 flag=0 multi=3.0000 len=5386", "13 flag=3"),
    *("u9ctg_len-5386_circular-no_depth-1", "u8ctg_circular-possibly_depth-1", "x_type_circularized"),
]


def test_headers_say_what_is_circular(tmp_path: Path, write_fasta: Callable[..., Path]) -> None:
    """T7's longest gene spans the origin: it is whole in a circular contig, and in two pieces in a linear one."""
    (_, t7, *_) = read_contigs(DEMO)
    origin = 1_000
    genome = t7.letters.decode()[29_000:35_000]
    rotated = genome[origin:] + genome[:origin]
    prepare_genes(write_fasta(dict.fromkeys([*CIRCULAR, *LINEAR], rotated)), tmp_path / "out", threads=2)
    table = read_proteins(tmp_path / "out")
    circles = {header.split()[0] for header in CIRCULAR}
    assert set(table.loc[table["end"] > len(genome), "contig"]) == circles
    records = read_table(tmp_path / "out" / "records.tsv", "record")
    assert set(records.loc[records["circular"] == 1, "record"]) == circles
    assert set(table.loc[table["contig"].isin(circles), "partial"]) == {"no"}


def test_a_repeat_left_on_a_circle_is_cut(tmp_path: Path, write_fasta: Callable[..., Path]) -> None:
    """Assemblers write the beginning of a circle again at its end: k bases, or by long reads a part with errors."""
    (_, t7, *_) = read_contigs(DEMO)
    genome = t7.letters.decode()[30_000:35_000] + t7.letters.decode()[29_000:30_000]
    with_errors = genome[:300].replace("ACG", "AG")
    sequences = {
        "whole circular=true": genome,
        "mega flag=3 multi=9.0000 len=6141": genome + genome[:141],
        "spades_type_circular": genome + genome[:20],
        "short_type_circular": genome + genome[:19],
        f"canu suggestCircular=yes trim=0-{len(genome)}": genome + with_errors,
        f"begin suggestCircular=yes trim=300-{len(genome) + 300}": genome + genome[:300],
        "false suggestCircular=yes trim=0-9999999": genome,
        "linear trim=0-1000": genome + genome[:141],
    }
    fasta = write_fasta(sequences)
    assert [(len(contig.letters) - len(genome), contig.repeat) for contig in read_contigs(fasta)] == [
        *[(0, 0), (0, 141), (0, 20), (19, 0), (0, len(with_errors)), (0, 300), (0, 0), (141, 0)]
    ]
    prepare_genes(fasta, tmp_path / "out", threads=2)
    columns = ["start", "end", "strand", "partial", "residues"]
    genes = {
        name: rows[columns].to_numpy().tolist() for name, rows in read_proteins(tmp_path / "out").groupby("contig")
    }
    for name in ("mega", "spades_type_circular", "canu", "begin", "false"):
        assert genes[name] == genes["whole"], name
    assert len(genes["linear"]) == len(genes["whole"]) + 1, "the gene across the origin is in two pieces"


def test_flyes_table_says_what_is_circular(tmp_path: Path) -> None:
    table = "#seq_name\tlength\tcov.\tcirc.\trepeat\tmult.\talt_group\tgraph_path\n"
    table += "".join(f"contig_{n}\t90\t5\t{circle}\tN\t1\t*\t{n}\n" for n, circle in enumerate("YN+-"))
    (tmp_path / "assembly_info.txt").write_text(table)
    for name, circles in (("assembly.fasta", [True, False, True, False]), ("other.fasta", [False] * 4)):
        (tmp_path / name).write_text("".join(f">contig_{n}\nACGT\n" for n in range(4)))
        assert [contig.circular for contig in read_contigs(tmp_path / name)] == circles


def test_contigs_too_short_or_empty_are_counted(
    tmp_path: Path, write_fasta: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    sequences = {"short": "GCC" * 30, "closed": "TAATTAGTTAATTAG" * 10, "one": "A", "empty": ""}
    prepare_genes(write_fasta(sequences), tmp_path / "out")
    records = [line.split("\t") for line in (tmp_path / "out" / "records.tsv").read_text().splitlines()[1:]]
    assert [(name, int(length), int(proteins) > 0) for name, length, _, _, proteins, _ in records] == [
        ("short", 90, True),
        ("closed", 150, False),
        ("one", 1, False),
        ("empty", 0, False),
    ]
    assert "record empty is empty and is left out" in caplog.text
    assert "no open reading frame" not in caplog.text
    prepare_genes(write_fasta({"closed": sequences["closed"]}), tmp_path / "out")
    assert (tmp_path / "out" / "proteins.faa").read_bytes() == b""
    assert "no open reading frame in any contig: the result is empty" in caplog.text


def test_contigs_that_were_read_in_frames_leave_no_chunks(tmp_path: Path, write_fasta: Callable[..., Path]) -> None:
    fasta = write_fasta({"a": "GCC" * 50})
    prepared = tmp_path / "prepared"
    prepare_frames(fasta, prepared, 500)
    prepare_genes(fasta, prepared)
    assert {path.name for path in prepared.iterdir()} == set(stage.OUTPUTS)


def test_ambiguous_codons_are_counted(tmp_path: Path, write_fasta: Callable[..., Path]) -> None:
    (_, t7, *_) = read_contigs(DEMO)
    genome = t7.letters.decode()
    prepare_genes(write_fasta({"a": genome[30_000:31_000] + "NNRYKM" + genome[31_006:34_000]}), tmp_path / "out")
    proteins = (tmp_path / "out" / "proteins.faa").read_text()
    found = int((tmp_path / "out" / "records.tsv").read_text().split()[-1])
    assert found == sum(line.count("X") for line in proteins.splitlines()[1::2])
    assert 2 <= found <= 3


def annotate(folder: Path, *genes: str) -> tuple[Path, Path]:
    """Write a contig with two genes, and a file with genes of it."""
    fasta, gff = folder / "a.fna", folder / "a.gff"
    fasta.write_text(f">c1\n{'CCTAACC' + GENE + 'TTAACC' + GENE}\n>c2\n{'GCC' * 40}\n")
    gff.write_text(
        "".join(f"c1\tx\tCDS\t{8 + 39 * k}\t{40 + 39 * k}\t.\t+\t0\tID=g{k};{gene}\n" for k, gene in enumerate(genes))
    )
    return fasta, gff


GENE = "ATGGCTGAAAAACATTGCCTGCGTGATACCTAA"


def test_genes_that_do_not_fit_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fasta, gff = annotate(tmp_path, "", "pseudo=true", "", "", "", "")
    prepare_genes(fasta, tmp_path / "out" / "prepared", genes=gff)
    table = read_proteins(tmp_path / "out" / "prepared")
    of_c1 = table[table["contig"] == "c1"]
    assert of_c1[["protein", "start", "end", "kind"]].to_numpy().tolist() == [["c1_1", 7, 40, "gene"]]
    assert set(table.loc[table["contig"] == "c2", "kind"]) == {"orf"}
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    beyond = "it leaves the contig of 79 bases, and no mark says that it is circular"
    named = f"g1 (c1:47-79): a pseudogene; g2 (c1:86-118): {beyond}; g3 (c1:125-157): {beyond}"
    assert warning == f"{gff}: 5 of 6 genes are left out: {named}; and 2 more, all in left_out.tsv"
    record = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert record["inputs"] == {"fasta": file_digest(fasta), "genes": file_digest(gff)}
    assert record["settings"] == {"type": "contigs", "proteins": "genes"}
    assert [gene[0] for gene in record["details"]["left_out"]] == ["g1", "g2", "g3", "g4", "g5"]
    assert record["details"]["left_out"][0] == ["g1", "c1", 47, 79, "+", "a pseudogene"]


def test_a_file_of_which_no_gene_fits_is_refused(tmp_path: Path) -> None:
    fasta, gff = annotate(tmp_path, "")
    gff.write_text(gff.read_text().replace("c1", "contig_1"))
    with pytest.raises(UserError) as caught:
        prepare_genes(fasta, tmp_path / "prepared", genes=gff)
    assert str(caught.value) == (
        f"{gff}: all 1 genes are left out: g0 (contig_1:8-40): no contig is named contig_1; "
        "give the contigs in which the genes were found, with the same ids"
    )
    gff.write_text("##gff-version 3\n")
    with pytest.raises(UserError, match=r"a.gff: no CDS in it; give a file with genes, or run without --genes$"):
        prepare_genes(fasta, tmp_path / "prepared", genes=gff)
    assert not list((tmp_path / "prepared").glob("*"))


def test_contigs_of_gff3_without_genes_are_searched_for_genes(tmp_path: Path) -> None:
    (name, letters), *_ = ((contig.name.decode(), contig.letters.decode()) for contig in read_contigs(DEMO))
    texts = {"fasta": f">{name}\n{letters[:5000]}\n"}
    texts["gff3"] = "##gff-version 3\n##FASTA\n" + texts["fasta"]
    for kind, text in texts.items():
        (tmp_path / kind).write_text(text)
        prepare_genes(tmp_path / kind, tmp_path / f"{kind}_out" / "prepared")
    one, other = ((tmp_path / f"{kind}_out" / "prepared" / "proteins.tsv").read_text() for kind in texts)
    assert one == other
    assert "\tgene\t" in one
