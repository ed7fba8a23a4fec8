"""Genes of real genomes, with pyrodigal-gv itself, Biopython and brute force as oracles."""

import random
from collections.abc import Iterator

import pyrodigal_gv
import pytest
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from virnucpro.data.fasta import read_fasta
from virnucpro.data.records import Record
from virnucpro.proteins.genes import Gene, find_genes, least_rotation, open_reading_frames
from virnucpro.proteins.translation import reverse_complement

DEMO = {name.split("_N")[0]: sequence for name, sequence in read_fasta(ROOT / "config" / "demo.fna.gz")}
# One or two AT-rich codons for each amino acid.
CODONS = {
    **{"A": "GCTGCA", "C": "TGT", "D": "GATGAC", "E": "GAA", "F": "TTTTTC", "G": "GGTGGA", "H": "CAT", "I": "ATTATA"},
    **{"K": "AAAAAG", "L": "TTACTT", "M": "ATG", "N": "AATAAC", "P": "CCACCT", "Q": "CAA", "R": "AGACGT"},
    **{"S": "TCTTCA", "T": "ACTACA", "V": "GTTGTA", "W": "TGG", "Y": "TAT"},
}


def genes(sequence: str, circular: bool = False) -> list[Gene]:
    (found,) = find_genes([Record(b"c", sequence.encode(), circular=circular)])
    return found


def turned(sequence: str) -> str:
    return reverse_complement(sequence.encode()).decode()


def translated(gene: Gene, sequence: str, circular: bool = False) -> str:
    """Return Biopython's translation of a gene, with its stop."""
    bases = (sequence * 2 if circular else sequence)[gene.start : gene.end]
    assert len(bases) == gene.end - gene.start
    return str(Seq(bases if gene.strand == b"+" else turned(bases)).translate(gene.genetic_code))


def check(gene: Gene, sequence: str, circular: bool = False) -> None:
    """Check that a protein is the translation of its position, and that `partial` is right."""
    read = translated(gene, sequence, circular)
    ends = gene.partial in (b"no", b"start")
    assert read[-1] == "*" if ends else read[-1] != "*"
    residues = read[: len(read) - ends]
    assert "*" not in residues
    protein = gene.protein.decode()
    if gene.kind == b"gene" and gene.partial in (b"no", b"end"):
        assert protein[0] == "M"
        assert protein[1:] == residues[1:]
    else:
        assert protein == residues
    assert 0 <= gene.start < len(sequence)


@pytest.mark.parametrize(("name", "count"), [("lambda", 62), ("T7", 49), ("MG1655_seq24", 75)])
def test_genes_are_those_of_pyrodigal(name: str, count: int) -> None:
    sequence = DEMO[name]
    found = genes(sequence)
    for gene in found:
        check(gene, sequence)
    alone = pyrodigal_gv.ViralGeneFinder(meta=True).find_genes(sequence)
    assert [(g.start + 1, g.end, g.strand, g.protein.decode()) for g in found] == [
        (g.begin, g.end, b"+" if g.strand > 0 else b"-", g.translate(include_stop=False)) for g in alone
    ]
    assert len(found) == count
    assert {(gene.kind, gene.genetic_code) for gene in found} == {(b"gene", 11)}


def cuts() -> Iterator[str]:
    rng = random.Random(7)
    for name in ("lambda", "T7", "MG1655_seq24", "MG1655_seq50"):
        for length in (70, 150, 151, 300, 1000, 2000, 5001, 9000):
            begin = rng.randrange(len(DEMO[name]) - length)
            yield DEMO[name][begin : begin + length]


@pytest.mark.parametrize("circular", [False, True])
def test_a_contig_and_its_reverse_complement_have_the_same_proteins(circular: bool) -> None:
    seen = 0
    for sequence in cuts():
        sequence = sequence[:500] + "RNNY" + sequence[504:] if len(sequence) > 2000 else sequence
        here, there = genes(sequence, circular), genes(turned(sequence), circular)
        length = len(sequence)
        swap = {b"+": b"-", b"-": b"+"}
        mirrored = [
            (g._replace(start=(length - g.end) % length, strand=swap[g.strand]), g.end - g.start) for g in there
        ]
        assert sorted(g._replace(end=g.start + size) for g, size in mirrored) == here
        seen += len(here)
    assert seen > 100


def test_the_result_does_not_depend_on_the_threads() -> None:
    contigs = [Record(b"c%d" % number, cut.encode(), circular=number % 5 == 0) for number, cut in enumerate(cuts())]
    alone = find_genes(contigs, threads=1)
    assert find_genes(contigs, threads=4) == alone
    assert alone == [found for contig in contigs for found in find_genes([contig])]


def test_every_protein_lies_where_it_says() -> None:
    kinds: dict[tuple[bytes, bytes], int] = {}
    for sequence in cuts():
        for gene in genes(sequence):
            check(gene, sequence)
            kinds[gene.kind, gene.partial] = kinds.get((gene.kind, gene.partial), 0) + 1
    assert {kind for kind, _ in kinds} == {b"gene", b"orf"}
    assert {partial for kind, partial in kinds if kind == b"gene"} == {b"no", b"start", b"end", b"both"}


@pytest.mark.parametrize("turn", [False, True])
def test_genes_that_go_on_beyond_the_contig_say_so(turn: bool) -> None:
    """A cut through a long gene of T7, on either strand, leaves two partial genes."""
    sequence = turned(DEMO["T7"]) if turn else DEMO["T7"]
    whole = next(gene for gene in genes(sequence) if gene.end - gene.start > 3000)
    middle = (whole.start + whole.end) // 2
    left, right = genes(sequence[whole.start - 300 : middle])[-1], genes(sequence[middle : whole.end + 300])[0]
    first, last = (right, left) if turn else (left, right)
    assert (first.partial, last.partial) == (b"end", b"start")
    assert whole.protein.startswith(first.protein)
    assert whole.protein.endswith(last.protein)
    assert len(whole.protein) - len(first.protein) - len(last.protein) <= 1
    inside = genes(sequence[middle - 600 : middle + 601])
    assert [(gene.partial, gene.protein in whole.protein) for gene in inside] == [(b"both", True)]


def brute_force(sequence: str) -> set[tuple[int, int, bytes, bytes]]:
    """Return start, end, strand and residues of every run of 30 codons or more without stop, on either strand."""
    found = set()
    for strand, letters in ((b"+", sequence), (b"-", turned(sequence))):
        for phase in range(3):
            codons = [letters[i : i + 3] for i in range(phase, len(letters) - 2, 3)]
            residues = "".join(str(Seq(c).translate()) if set(c) <= set("ACGT") else "." for c in codons)
            begin = 0
            for end, letter in enumerate(residues + "."):
                if letter in "*.":
                    if end - begin >= 30:
                        start, stop = phase + 3 * begin, phase + 3 * (end + (letter == "*"))
                        place = (start, stop) if strand == b"+" else (len(letters) - stop, len(letters) - start)
                        found.add((*place, strand, residues[begin:end].encode()))
                    begin = end + 1
    return found


@given(st.text(st.sampled_from("ACGGCCAT"), min_size=80, max_size=400), st.integers(0, 3))
def test_open_reading_frames_equal_brute_force(sequence: str, unknown: int) -> None:
    for at in range(unknown):
        sequence = f"{sequence[: 70 * at]}N{sequence[70 * at + 1 :]}"
    found = list(open_reading_frames(sequence.encode()))
    assert {(gene.start, gene.end, gene.strand, gene.protein) for gene in found} == brute_force(sequence)
    assert len(set(found)) == len(found)
    for gene in found:
        assert (gene.kind, gene.genetic_code) == (b"orf", 11)
        if not unknown:
            check(gene, sequence)


def test_an_open_reading_frame_is_partial_where_no_stop_bounds_it() -> None:
    """Between two stops, at either end of the contig, and beside an ambiguous letter; on either strand."""
    codons = "GAT" * 40
    expected = {
        f"TAA{codons}TAA": (3, 126, b"no"),
        f"TAA{codons}": (3, 123, b"end"),
        f"{codons}TAA": (0, 123, b"start"),
        codons: (0, 120, b"both"),
        f"TAANTT{codons}TAA": (6, 129, b"start"),
    }
    for sequence, (start, end, partial) in expected.items():
        for letters, strand in ((sequence, b"+"), (turned(sequence), b"-")):
            place = (start, end) if strand == b"+" else (len(sequence) - end, len(sequence) - start)
            found = {gene for gene in open_reading_frames(letters.encode()) if gene.protein == b"D" * 40}
            assert found == {Gene(*place, strand, b"orf", 11, partial, b"D" * 40)}


def test_a_contig_without_genes_has_its_open_reading_frames() -> None:
    sequences = [cut for cut in cuts() if len(cut) < 400] + ["GCC" * 29 + "GC", "GCC" * 30, "TAA" + "GCC" * 40]
    without = 0
    for sequence in sequences:
        alone = pyrodigal_gv.ViralGeneFinder(meta=True).find_genes(min(sequence, turned(sequence)))
        if not len(alone):
            assert {(g.start, g.end, g.strand, g.protein) for g in genes(sequence)} == brute_force(sequence)
            without += 1
        assert {gene.kind for gene in genes(sequence)} <= {b"gene" if len(alone) else b"orf"}
    assert 2 < without < len(sequences)


@pytest.mark.parametrize("sequence", ["", "A", "AC", "ACG", "N" * 500, "TAATTAGTTAATTAG" * 10])
@pytest.mark.parametrize("circular", [False, True])
def test_nothing_to_be_read_is_no_protein(sequence: str, circular: bool) -> None:
    assert genes(sequence, circular) == []


@pytest.mark.parametrize(("code", "residue", "stop"), [(15, "Q", "TAG"), (4, "W", "TGA")])
def test_another_genetic_code_is_found_and_used(code: int, residue: str, stop: str) -> None:
    """Proteins of T7 in codons of a genome that reads a stop as an amino acid."""
    rng = random.Random(0)
    proteins = [gene.protein.decode() for gene in genes(DEMO["T7"]) if len(gene.protein) > 150][:8]
    contig = ""
    for protein in proteins:
        codons = [CODONS[letter][: 3 * rng.randint(1, 2)][-3:] for letter in protein]
        codons = [stop if letter == residue else codon for letter, codon in zip(protein, codons, strict=True)]
        contig += f"AGGAGGATATTAA{''.join(codons)}TAA{''.join(rng.choices('ATAC', k=20))}"
    found = genes(contig)
    assert {gene.genetic_code for gene in found} == {code}
    assert len({gene.protein.decode() for gene in found} & set(proteins)) >= 6
    for gene in found:
        check(gene, contig)


@pytest.mark.parametrize("name", ["lambda", "T7"])
def test_a_gene_that_spans_the_origin_of_a_circle_is_whole(name: str) -> None:
    sequence = DEMO[name]
    length = len(sequence)
    long = next(gene for gene in genes(sequence) if gene.end - gene.start > 2000)
    origin = (long.start + long.end) // 2
    rotated = sequence[origin:] + sequence[:origin]
    assert {gene.partial for gene in genes(rotated)} > {b"no"}
    circle = genes(rotated, circular=True)
    for gene in circle:
        assert gene.partial == b"no"
        check(gene, rotated, circular=True)
    spanning = [gene for gene in circle if gene.end > length]
    assert [gene.protein for gene in spanning] == [long.protein]
    assert spanning[0].start == (long.start - origin) % length
    unrotated = genes(sequence, circular=True)
    assert sorted(gene.protein for gene in unrotated) == sorted(gene.protein for gene in circle)


@given(st.text("AC", min_size=1, max_size=40), st.integers(1, 9), st.sampled_from(["", "A", "G"]))
def test_the_least_rotation_equals_brute_force(unit: str, repeats: int, last: str) -> None:
    letters = unit * repeats + last
    origin = least_rotation(letters.encode())
    assert letters[origin:] + letters[:origin] == min(letters[at:] + letters[:at] for at in range(len(letters)))


@pytest.mark.parametrize("name", ["MG1655_seq62", "MG1655_seq74", "MG1655_seq86", "MG1655_seq94", "MG1655_seq104"])
@pytest.mark.parametrize("turn", [False, True])
def test_genes_of_a_circle_do_not_depend_on_its_origin(name: str, turn: bool) -> None:
    """Open reading frames of small circles do not depend on the origin either."""
    circle = DEMO[name]
    length = len(circle)
    expected = genes(circle, circular=True)
    for origin in range(1, length, length // 7):
        rotated = circle[origin:] + circle[:origin]
        found = []
        for gene in genes(turned(rotated) if turn else rotated, circular=True):
            assert 0 <= gene.start < length
            strand = {b"+": b"-", b"-": b"+"}[gene.strand] if turn else gene.strand
            start = ((length - gene.end if turn else gene.start) + origin) % length
            found.append(gene._replace(start=start, end=start + gene.end - gene.start, strand=strand))
        assert sorted(found) == expected


def test_an_open_reading_frame_that_spans_the_origin_is_whole() -> None:
    codons = "GAT" * 20 + "AAAAAA" + "GAT" * 20  # the least rotation begins within it
    protein = b"D" * 20 + b"KK" + b"D" * 20
    whole = f"TAATTAGTTAATTAG{codons}TAATTAGTTAATTAG"
    rotated = whole[60:] + whole[:60]
    (found,) = [gene for gene in genes(rotated, circular=True) if gene.protein == protein]
    assert (found.start, found.end, found.kind, found.partial) == (len(whole) - 45, len(whole) + 84, b"orf", b"no")
    endless = genes("GCC" * 60, circular=True)  # no stop in any frame
    assert {(gene.kind, gene.partial) for gene in endless} == {(b"orf", b"both")}


def test_a_reading_frame_is_found_once_where_a_circle_is_opened() -> None:
    """The circle is opened before AAAAAA, which comes first in the alphabet."""
    circle = "AAAAAA" + "GCTTTCGGTCTG" * 40 + "TAG"
    assert [gene.start for gene in genes(circle, circular=True)].count(0) == 1


def test_a_circle_of_one_long_gene() -> None:
    """The gene takes up most of the circle, as in anelloviruses, and is found once from wherever it is read."""
    whole = next(gene for gene in genes(DEMO["T7"]) if gene.end - gene.start > 3000)
    circle = DEMO["T7"][whole.start - 100 : whole.end + 60]
    for origin in range(0, len(circle), 500):
        found = [gene for gene in genes(circle[origin:] + circle[:origin], circular=True) if len(gene.protein) > 500]
        assert [gene.protein for gene in found] == [whole.protein]


@pytest.mark.parametrize("size", [10, 100])
def test_no_gene_is_read_across_a_gap(size: int) -> None:
    whole = next(gene for gene in genes(DEMO["T7"]) if gene.end - gene.start > 3000)
    middle = (whole.start + whole.end) // 2
    gap = DEMO["T7"][:middle] + "N" * size + DEMO["T7"][middle + size :]
    found = genes(gap)
    assert not [gene for gene in found if gene.start < middle + size and gene.end > middle]
    assert not [gene for gene in found if b"X" in gene.protein]


def test_a_gene_is_read_across_few_ambiguous_letters() -> None:
    whole = next(gene for gene in genes(DEMO["T7"]) if gene.end - gene.start > 3000)
    middle = (whole.start + whole.end) // 2
    nearly = genes(DEMO["T7"][:middle] + "N" * 9 + DEMO["T7"][middle + 9 :])
    assert (whole.start, whole.end) in [(gene.start, gene.end) for gene in nearly], "a gap has 10"
    few = DEMO["T7"][:middle] + "NNRYK" + DEMO["T7"][middle + 5 :]
    (read,) = [gene for gene in genes(few) if gene.start == whole.start]
    assert len(read.protein) == len(whole.protein)
    assert 2 <= read.protein.count(b"X") <= 3
