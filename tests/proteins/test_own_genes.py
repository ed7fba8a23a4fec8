"""Genes of GFF3 and GenBank files as programs write them, with Biopython's translation as the oracle."""

import gzip
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from Bio.Seq import Seq

from virnucpro.data.records import Record, read_contigs, read_contigs_without_sequence
from virnucpro.errors import UserError
from virnucpro.proteins.genes import find_orfs
from virnucpro.proteins.own_genes import OwnGenes

Found = tuple[list[tuple[object, ...]], list[str]]  # genes that fit, and why others do not
Read = Callable[..., Found]
SENSE = list(map("".join, zip(*[iter("GCTTGCGATGAATTCGGTCACATCAAACTGAACCCGCAGCGTTCTACCGTTTAC")] * 3, strict=True)))


def coding(codons: int, start: str = "ATG", stop: str = "TAA") -> str:
    return start + "".join(random.Random(codons).choices(SENSE, k=codons - 1)) + stop


def protein(gene: str, code: int = 11) -> bytes:
    read = str(Seq(gene).translate(code)).removesuffix("*")
    return f"M{read[1:]}".encode()


def turned(sequence: str) -> str:
    return str(Seq(sequence).reverse_complement())


FIRST, SECOND = coding(40), coding(50, start="GTG", stop="TGA")
# FIRST at 10, SECOND on the other strand behind it.
CONTIG = "CCTTAACCTT" + FIRST + "TTAATTAACC" + turned(SECOND) + "CCTTAACCTT"
AT = 10, 10 + len(FIRST), 20 + len(FIRST), 20 + len(FIRST) + len(SECOND)
BOTH = [
    (AT[0], AT[1], b"+", b"gene", 11, b"no", protein(FIRST)),
    (AT[2], AT[3], b"-", b"gene", 11, b"no", protein(SECOND)),
]


def line(
    start: int, end: int, strand: str, attributes: str, phase: int = 0, contig: str = "c1", kind: str = "CDS"
) -> str:
    return f"{contig}\tany\t{kind}\t{start + 1}\t{end}\t.\t{strand}\t{phase}\t{attributes}\n"


INDENT = " " * 21
WITHOUT_SEQUENCE = ("\n", "CONTIG      join(X.1:1..306)\n", "CONTIG      join(X.1:1..306)\nORIGIN\n")


def location(start: int, end: int, kind: str = "CDS") -> str:
    return f"     {kind:<16}{start + 1}..{end}\n"


def genbank(name: str, sequence: str, features: str, topology: str = "linear", origin: str = "") -> str:
    rows = [
        f"{at + 1:>9} " + " ".join(sequence[at : at + 60].lower()[i : i + 10] for i in range(0, 60, 10)).strip()
        for at in range(0, 0 if origin else len(sequence), 60)
    ]
    text = f"LOCUS       {name:<16} {len(sequence):>11} bp    DNA     {topology:<8} PHG 01-JAN-2000\n"
    text += f"ACCESSION   {name}\nVERSION     {name}.1\nFEATURES             Location/Qualifiers\n{features}"
    return text + (origin or "ORIGIN\n") + "".join(f"{row}\n" for row in rows) + "//\n"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def of(text: str, sequence: str = CONTIG, name: str = "c1", circular: bool = False) -> Found:
        path = tmp_path / "genes"
        path.write_text(text)
        own = OwnGenes(path)
        genes = own.of_contig(Record(name.encode(), sequence.encode(), circular=circular))
        own.leave_out_the_rest()
        return [tuple(gene) for gene in genes], [one.reason for one in own.left_out]

    return of


PRODIGAL = (
    '##gff-version  3\n# Sequence Data: seqnum=1;seqlen=300;seqhdr="c1"\n'
    '# Model Data: version=Prodigal.v2.6.3;run_type=Metagenomic;model="x";gc_cont=40.0;transl_table=11;uses_sd=1\n'
    + line(*AT[:2], "+", "ID=1_1;partial=00;start_type=ATG;conf=99.99;")
    + line(*AT[2:], "-", "ID=1_2;partial=00;start_type=GTG;conf=99.99;")
)
PROKKA = (
    "##gff-version 3\n##sequence-region c1 1 310\n"
    + line(*AT[:2], "+", "ID=ABC_00001_gene;locus_tag=ABC_00001", kind="gene")
    + line(*AT[:2], "+", "ID=ABC_00001;Parent=ABC_00001_gene;locus_tag=ABC_00001;product=a%2C b %3B c")
    + line(*AT[2:], "-", "ID=ABC_00002;inference=ab initio prediction:Prodigal:002006;locus_tag=ABC_00002")
    + f"##FASTA\n>c1\n{CONTIG}\n"
)
BAKTA = (
    "##gff-version 3\n##feature-ontology https://github.com/x\n# organism A b\n# Annotated with Bakta\n"
    + line(0, len(CONTIG), "+", "ID=c1;Name=c1", kind="region")
    + line(*AT[:2], "+", "ID=X_1;Name=hypothetical protein;locus_tag=X_1;Dbxref=SO:0001217")
    + line(*AT[2:], "-", "ID=X_2;Name=b;locus_tag=X_2")
    + line(0, 9, ".", "ID=X_3;product=a direct repeat", kind="repeat_region")
    + f"##FASTA\n>c1\n{CONTIG}\n"
)
NCBI = (
    "##gff-version 3\n#!gff-spec-version 1.21\n##sequence-region c1 1 310\n"
    + line(0, len(CONTIG), "+", "ID=c1:1..310;Dbxref=taxon:1;gbkey=Src", kind="region")
    + line(*AT[:2], "+", "ID=gene-A1;Name=a;gene_biotype=protein_coding", kind="gene")
    + line(*AT[:2], "+", "ID=cds-NP_1.1;Parent=gene-A1;Dbxref=GenBank:NP_1.1;transl_table=11")
    + line(*AT[2:], "-", "ID=gene-A2;gene_biotype=protein_coding", kind="gene")
    + line(*AT[2:], "-", "ID=cds-NP_2.1;Parent=gene-A2;transl_table=11")
    + "###\n"
)


@pytest.mark.parametrize("text", [PRODIGAL, PROKKA, BAKTA, NCBI], ids=["Prodigal", "Prokka", "Bakta", "NCBI"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_gff3_of_programs(tmp_path: Path, text: str, ends: str) -> None:
    path = tmp_path / "genes.gff.gz"
    path.write_bytes(gzip.compress(text.replace("\n", ends).encode()))
    own = OwnGenes(path)
    assert own.of_contig(Record(b"c1", CONTIG.encode())) == BOTH
    assert own.left_out == []
    if "##FASTA" in text:
        assert list(read_contigs(path)) == [Record(b"c1", CONTIG.encode())]


FEATURES = (
    location(0, len(CONTIG), "source")
    + location(*AT[:2])
    + '                     /locus_tag="A1"\n                     /transl_table=11\n'
    + f"     CDS             complement({AT[2] + 1}..{AT[3]})\n                     /codon_start=1\n"
)


@pytest.mark.parametrize("name", ["c1", "c1.1", "k9"])
@pytest.mark.parametrize("origin", ["", *WITHOUT_SEQUENCE])
def test_genbank_with_and_without_its_sequence(read: Read, name: str, origin: str) -> None:
    text = genbank("c1", CONTIG, FEATURES, origin=origin).replace("LOCUS       c1 ", "LOCUS       k9 ")
    assert read(text, name=name) == (BOTH, [])


def test_contigs_of_genbank(tmp_path: Path) -> None:
    path = tmp_path / "a.gbk"
    path.write_text(genbank("c1", CONTIG, FEATURES, "circular") + genbank("c2", FIRST, ""))
    assert list(read_contigs(path)) == [
        Record(b"c1.1", CONTIG.encode(), circular=True),
        Record(b"c2.1", FIRST.encode()),
    ]
    path.write_text(genbank("c1", CONTIG, FEATURES, origin=WITHOUT_SEQUENCE[0]))
    with pytest.raises(
        UserError, match=r"a.gbk: record c1.1 has no sequence; give the contigs as FASTA, and this file"
    ):
        list(read_contigs(path))


def cds(place: str, translation: str = "", more: str = "") -> str:
    """Return a CDS of GenBank, with its translation on lines of 58 letters as NCBI writes it."""
    text = f"     CDS             {place}\n{more}"
    if translation:
        lines = f'/translation="{translation}"'
        text += "".join(f"{INDENT}{lines[at : at + 58]}\n" for at in range(0, len(lines), 58))
    return text


BOTH_TRANSLATED = cds(f"{AT[0] + 1}..{AT[1]}", protein(FIRST).decode()) + cds(
    f"complement({AT[2] + 1}..{AT[3]})", protein(SECOND).decode()
)


TRANSLATED = genbank("c1", CONTIG, BOTH_TRANSLATED, "circular", WITHOUT_SEQUENCE[1]) + genbank(
    "c2", FIRST, "", "", WITHOUT_SEQUENCE[0]
)


@pytest.mark.parametrize("origin", WITHOUT_SEQUENCE)
def test_translations_are_the_genes_of_contigs_without_sequence(tmp_path: Path, origin: str) -> None:
    path = tmp_path / "a.gbk"
    path.write_text(genbank("c1", CONTIG, BOTH_TRANSLATED, "circular", origin) + genbank("c2", FIRST, "", "", origin))
    contigs = list(read_contigs_without_sequence(path))
    assert [(one.name, one.length, one.circular) for one in contigs] == [
        (b"c1.1", len(CONTIG), True),
        (b"c2.1", len(FIRST), False),
    ]
    own = OwnGenes(path)
    assert [own.of_contig(contig) for contig in contigs] == [BOTH, []]
    assert own.left_out == []


SELENO = "MKUVVLAAR"


@pytest.mark.parametrize(
    ("place", "translation", "more", "expected"),
    [
        ("11..40", "MKVVVLAAR", "", (10, 40, b"+", "no")),
        ("11..37", "MKVVVLAAR", "", (10, 37, b"+", "no")),  # without the stop codon
        ("complement(11..40)", SELENO, "", (10, 40, b"-", "no")),
        ("<11..40", "KVVVLAARR", "", (10, 40, b"+", "start")),
        ("11..>37", "MKVVVLAAR", "", (10, 37, b"+", "end")),
        ("complement(<11..>38)", "KVVVLAARR", f"{INDENT}/codon_start=2\n", (10, 37, b"-", "both")),
        ("join(11..20,31..50)", "MKVVVLAAR", "", (10, 50, b"+", "no")),
        ("join(101..110,1..20)", "MKVVVLAAR", "", (100, 130, b"+", "no")),
        ("join(11..30,30..39)", "MKVVVLAAR", "", (10, 39, b"+", "no")),  # a ribosome that slips back
        ("11..40", "", "", "no translation in the file, and no sequence of the contig"),
        ("11..40", "MKV*VLAAR", "", "'*' in its translation is no residue"),
        ("11..70", "MKVVVLAAR", "", "its translation has 9 residues, and its location 20 codons"),
        ("11..34", "MKVVVLAAR", "", "its translation has 9 residues, and its location 8 codons"),
        ("11..41", "MKVVVLAAR", "", "its 31 bases are no multiple of three"),
        (f"11..{10**30}", "MKVVVLAAR", "", "it leaves the contig of 110 bases"),
        ("91..221", "MKVVVLAAR", "", "it leaves the contig of 110 bases"),
        ("11..40", "MKVVVLAAR", f"{INDENT}/pseudo\n", "a pseudogene"),
        ("11..40", "MKVVVLAAR", f"{INDENT}/transl_table=7\n", "genetic code 7 is unknown"),
    ],
)
def test_places_and_translations_that_fit(
    tmp_path: Path, place: str, translation: str, more: str, expected: tuple[object, ...] | str
) -> None:
    path = tmp_path / "a.gbk"
    path.write_text(genbank("c1", "N" * 110, cds(place, translation, more), "circular", WITHOUT_SEQUENCE[0]))
    own = OwnGenes(path)
    genes = own.of_contig(next(read_contigs_without_sequence(path)))
    if isinstance(expected, str):
        assert (genes, [one.reason for one in own.left_out]) == ([], [expected])
    else:
        start, end, strand, partial = expected
        whole = (start, end, strand, b"gene", 11, str(partial).encode(), translation.encode())
        assert ([tuple(gene) for gene in genes], own.left_out) == ([whole], [])


def test_records_with_and_without_sequence_do_not_mix(tmp_path: Path) -> None:
    with_it, without = genbank("c1", CONTIG, ""), genbank("c2", CONTIG, "", origin=WITHOUT_SEQUENCE[0])
    path = tmp_path / "a.gbk"
    path.write_text(without + with_it)
    with pytest.raises(UserError, match=r"a.gbk: record c1.1 has a sequence, unlike the first one; split the file"):
        list(read_contigs_without_sequence(path))
    path.write_text(with_it + without)
    assert list(read_contigs_without_sequence(path)) == []
    path.write_text(without + without)
    with pytest.raises(UserError, match="two records are named c2"):
        list(read_contigs_without_sequence(path))
    path.write_text(re.sub(r" +\d+ bp", f" {'9' * 30} bp", without))
    with pytest.raises(UserError, match=r"a.gbk: cannot be read as GenBank to its end"):
        list(read_contigs_without_sequence(path))
    path.write_text(re.sub(r" +\d+ bp", f" {10**15} bp", without))
    assert next(read_contigs_without_sequence(path)).length == 10**15, "without memory for its bases"


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize("ids", ["ID=cds1;Parent=t1", "Parent=t1", "ID=t1.cds{};Parent=t1"])
def test_introns_are_cut_out(read: Read, strand: str, ids: str) -> None:
    """A gene of three exons as gene finders for eukaryotes write it, in any order; phases follow from the lengths."""
    exons, intron = [FIRST[:31], FIRST[31:70], FIRST[70:]], "GTAAGTTTAAAG"
    spliced = "TTA" + intron.join(exons) + "CC"
    at, parts = 3, []
    for exon in exons:
        parts.append((at, at + len(exon)))
        at += len(exon) + len(intron)
    phases = [0, -31 % 3, -70 % 3]
    size = len(spliced)
    if strand == "-":
        spliced, parts = turned(spliced), [(size - end, size - start) for start, end in parts]
    text = line(3, size - 2, strand, "ID=g1", kind="gene") + line(3, size - 2, strand, "ID=t1;Parent=g1", kind="mRNA")
    for number in (1, 0, 2):
        text += line(*parts[number], strand, ids.format(number), phases[number])
    start, end = min(parts)[0], max(parts)[1]
    assert read(text, spliced) == ([(start, end, strand.encode(), b"gene", 11, b"no", protein(FIRST))], [])


def test_two_genes_of_one_gene_feature_stay_two(
    read: Read,
) -> None:
    text = (
        line(*AT[:2], "+", "ID=g", kind="gene")
        + line(*AT[:2], "+", "ID=a;Parent=g")
        + line(*AT[:2], "+", "ID=b;Parent=g")
    )
    assert read(text) == ([BOTH[0]] * 2, [])


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize("form", ["beyond", "two parts", "join"])
def test_a_gene_across_the_origin(read: Read, strand: str, form: str) -> None:
    letters = FIRST if strand == "+" else turned(FIRST)
    circle = letters[50:] + "TTAACCTTAA" + letters[:50]
    start, end = len(circle) - 50, len(circle) + len(FIRST) - 50
    tail = end - len(circle)
    text = line(start, end, strand, "ID=a")
    if form == "two parts":
        phases = (0, -50 % 3) if strand == "+" else (-tail % 3, 0)
        text = line(0, tail, strand, "ID=a", phases[1]) + line(start, len(circle), strand, "ID=a", phases[0])
    elif form == "join":
        place = f"join({start + 1}..{len(circle)},1..{tail})"
        place = place if strand == "+" else f"complement({place})"
        text = genbank("c1", circle, f"     CDS             {place}\n")
    assert read(text, circle, circular=True) == (
        [(start, end, strand.encode(), b"gene", 11, b"no", protein(FIRST))],
        [],
    )
    if form != "two parts":
        (reason,) = read(text, circle)[1]
        assert reason == f"it leaves the contig of {len(circle)} bases, and no mark says that it is circular"


def test_the_origin_is_behind_the_longest_gap_of_a_gene_with_an_intron(read: Read) -> None:
    """The second of three exons begins 4 bases behind the first one, which is shorter than the second."""
    circle = FIRST[20:50] + "GTAG" + FIRST[50:] + "TTAACC" * 5 + FIRST[:20]
    place = f"join({len(circle) - 19}..{len(circle)},1..30,35..{len(FIRST) - 16})"
    ((gene,), left_out) = read(genbank("c1", circle, f"     CDS             {place}\n"), circle, circular=True)
    assert (gene[:2], gene[-1], left_out) == ((len(circle) - 20, len(circle) + len(FIRST) - 16), protein(FIRST), [])


def test_a_gene_in_the_repeat_at_the_end_of_a_circle_is_left_out(tmp_path: Path) -> None:
    path, end = tmp_path / "genes.gff", len(CONTIG)
    path.write_text(line(*AT[:2], "+", "ID=x") + line(AT[0] + end, AT[1] + end, "+", "ID=y"))
    own = OwnGenes(path)
    (gene,) = own.of_contig(Record(b"c1", CONTIG.encode(), circular=True, repeat=AT[1]))
    assert gene == BOTH[0]
    assert [one.reason for one in own.left_out] == [f"in the last {AT[1]} bases of its circle, which repeat the first"]


@pytest.mark.parametrize("form", ["prodigal", "ncbi", "genbank"])
@pytest.mark.parametrize("strand", "+-")
def test_partial_genes(read: Read, form: str, strand: str) -> None:
    """A gene whose first base is the second of a codon, and whose last two are the first of one."""
    cut = FIRST[4:-4]
    sequence = cut if strand == "+" else turned(cut)
    size = len(cut)
    place = f"<1..>{size}" if strand == "+" else f"complement(<1..>{size})"
    texts = {
        "prodigal": line(2, size - 2, strand, "ID=1_1;partial=11"),
        "ncbi": line(0, size, strand, f"ID=a;partial=true;start_range=.,1;end_range={size},.", 2),
        "genbank": genbank("c1", sequence, f"     CDS             {place}\n{INDENT}/codon_start=3\n"),
    }
    (gene,), left_out = read(texts[form], sequence)
    assert left_out == []
    assert gene == (2, size - 2, strand.encode(), b"gene", 11, b"both", str(Seq(cut[2:-2]).translate()).encode())


@pytest.mark.parametrize("form", ["prodigal", "ncbi", "genbank"])
@pytest.mark.parametrize("strand", "+-")
def test_a_gene_that_is_marked_as_open_at_its_start(read: Read, form: str, strand: str) -> None:
    """Its first codon is a start codon, which alone would say that it is whole."""
    sequence = SECOND if strand == "+" else turned(SECOND)
    size, forward = len(SECOND), strand == "+"
    place = f"<1..{size}" if forward else f"complement(1..>{size})"
    ranges = "start_range=.,1" if forward else f"end_range={size},."
    text = {
        "prodigal": line(0, size, strand, f"ID=1_1;partial={'10' if forward else '01'}"),
        "ncbi": line(0, size, strand, f"ID=a;partial=true;{ranges}"),
        "genbank": genbank("c1", sequence, f"     CDS             {place}\n"),
    }[form]
    residues = b"V" + protein(SECOND)[1:]
    assert read(text, sequence) == ([(0, size, strand.encode(), b"gene", 11, b"start", residues)], [])


def test_a_stop_codon_that_is_left_out_is_added(
    read: Read,
) -> None:
    text = line(AT[0], AT[1] - 3, "+", "ID=a") + line(AT[2] + 3, AT[3], "-", "ID=b")
    assert read(text) == (BOTH, [])


@pytest.mark.parametrize("way", ["attribute", "comment", "genbank"])
def test_the_genetic_code_is_that_of_the_file(read: Read, way: str) -> None:
    gene = "ATGTGAGCTTGAAAATAA"
    text = {
        "attribute": line(0, 18, "+", "ID=a;transl_table=4"),
        "comment": "# Model Data: transl_table=4;uses_sd=1\n" + line(0, 18, "+", "ID=a"),
        "genbank": genbank("c1", gene, location(0, 18) + "                     /transl_table=4\n"),
    }[way]
    assert read(text, gene) == ([(0, 18, b"+", b"gene", 4, b"no", b"MWAWK")], [])


def test_a_translation_of_the_file_reads_through_a_stop(
    read: Read,
) -> None:
    gene = "ATGGCTTGAAAATAA"
    for translation, found in (("MAUK", b"MAUK"), ("MA", None)):
        text = genbank("c1", gene, location(0, 15) + f'                     /translation="{translation}"\n')
        genes, left_out = read(text, gene)
        assert (genes[0][-1] if not left_out else None) == found


WRONG = {
    "a pseudogene": line(*AT[:2], "+", "ID=x;pseudo=true"),
    "a pseudogene ": line(*AT[:2], "+", "ID=x;pseudogene=unknown"),
    "a pseudogene  ": line(*AT[:2], "+", "ID=g", kind="pseudogene") + line(*AT[:2], "+", "ID=x;Parent=g"),
    "a stop codon after 3 of its 9 residues": line(0, 27, "+", "ID=x"),
    "its 119 bases are no multiple of three": line(AT[0], AT[0] + 119, "+", "ID=x"),
    "it leaves the contig of 306 bases, and no mark says that it is circular": line(300, 309, "+", "ID=x"),
    "no contig is named other": line(*AT[:2], "+", "ID=x", contig="other"),
    "no single strand, or no location on this contig": line(*AT[:2], ".", "ID=x"),
    "no single strand, or no location on this contig ": line(AT[1], AT[0], "+", "ID=x"),
    "genetic code 99 is unknown": line(*AT[:2], "+", "ID=x;transl_table=99"),
    "no codon before its stop": line(AT[1] - 3, AT[1], "+", "ID=x"),
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_gene_that_does_not_fit_is_left_out(read: Read, reason: str) -> None:
    sequence = "ATGGCTGCTTAAGCTGCTGCTGCTGCT" + CONTIG[27:] if "after" in reason else CONTIG
    assert read(line(*AT[2:], "-", "ID=y") + WRONG[reason], sequence) == (BOTH[1:], [reason.strip()])


def test_names_fit_into_a_table(tmp_path: Path) -> None:
    (tmp_path / "genes").write_text(line(0, 9, "+", "ID=a%09b%0Ac", contig="c%091"))
    own = OwnGenes(tmp_path / "genes")
    own.leave_out_the_rest()
    assert own.left_out == [("a?b?c", "c?1", 1, 9, "+", "no contig is named c?1")]


def test_a_contig_without_genes_has_its_open_reading_frames(
    read: Read,
) -> None:
    expected = [tuple(gene) for gene in find_orfs(Record(b"c2", CONTIG.encode()))]
    assert read(PRODIGAL, name="c2")[0] == expected != []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (">c1\nACGT\n", "FASTA, not GFF3 or GenBank"),
        ("c1\tx\tCDS\t1\t9\t.\t+\t0\n", "line 1: not GFF3, which has nine columns"),
        ("##gff-version 3\n" + line(0, 9, "+", "ID=a").replace("\t1\t", "\tone\t"), "line 2: not GFF3, which has nine"),
        (
            line(0, 9, "+", 'gene_id "a"; transcript_id "b"'),
            "line 1: attributes are not KEY=VALUE, as in GFF3; convert GTF",
        ),
        ("LOCUS       c1\n", "cannot be read as GenBank to its end"),
        ("", "the file is empty"),
    ],
)
def test_a_file_that_is_no_table_of_genes_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "genes"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        OwnGenes(path)
    assert str(caught.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(caught.value)
