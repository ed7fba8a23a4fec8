"""Shorter chunks and other genetic codes: used only where they are needed."""

import random

import numpy as np
import pytest
from Bio.Data.CodonTable import unambiguous_dna_by_id
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.proteins.chunking import chunk_spans
from virnucpro.proteins.frames import chunk_contigs
from virnucpro.proteins.translation import open_frames

TGA = b"TGACTGACTGACTCAGTCAGTCAG"  # TGA in all six frames, and no other stop


def gene(rng: random.Random, codons: int, code: int, gc: float = 0.4) -> str:
    """Return a random reading frame in a genetic code; only its last codon is a stop."""
    table = unambiguous_dna_by_id[code]
    weights = [gc / 2 if base in "GC" else (1 - gc) / 2 for base in "ACGT"]
    found: list[str] = []
    while len(found) < codons:
        codon = "".join(rng.choices("ACGT", weights, k=3))
        if codon not in table.stop_codons:
            found.append(codon)
    return "".join(found) + rng.choice(table.stop_codons)


def genome(code: int, gc: float, genes: int = 12) -> bytes:
    rng = random.Random(code * 100 + int(100 * gc))
    between = ("".join(rng.choices("ACGT", k=rng.randint(0, 90))) for _ in range(genes))
    return "".join(gene(rng, rng.randint(200, 400), code, gc) + space for space in between).encode()


@given(st.lists(st.text("ACGTN", max_size=400), max_size=5), st.integers(3, 90))
def test_without_options_it_is_chunking_and_translation(contigs: list[str], chunk_size: int) -> None:
    for contig, found in zip(contigs, chunk_contigs([c.encode() for c in contigs], chunk_size), strict=True):
        spans = chunk_spans(len(contig), chunk_size)
        assert (found.chunk_size, found.genetic_code) == (chunk_size, 1)
        np.testing.assert_array_equal(found.spans, spans)
        assert found.frames == list(open_frames(contig.encode(), spans))


def test_a_contig_without_open_frames_is_read_in_shorter_chunks() -> None:
    stop = "TTAATTAATTAA"  # all six frames
    contigs = [(("GCC" * 60 + stop) * 4).encode(), ("GCC" * 200).encode(), (stop * 20).encode()]
    short, long, never = chunk_contigs(contigs, 500, [300, 150])
    assert (short.chunk_size, long.chunk_size) == (150, 500)
    assert short.frames == list(open_frames(contigs[0], chunk_spans(len(contigs[0]), 150)))
    assert (never.chunk_size, never.frames) == (500, [])


def test_the_code_of_a_genome_is_found_and_the_standard_one_kept() -> None:
    for gc in (0.25, 0.4, 0.6, 0.7):
        (found,) = chunk_contigs([genome(1, gc)], 500, [], [1, 4, 15])
        assert found.genetic_code == 1, gc
    for code in (4, 15):
        for gc in (0.25, 0.4):
            (found,) = chunk_contigs([genome(code, gc)], 500, [], [1, 4, 15])
            assert found.genetic_code == code, gc
            (standard,) = chunk_contigs([genome(code, gc)], 500)
            assert len(found.open_chunks) > len(standard.open_chunks)


def test_positions_are_those_of_the_contig() -> None:
    contigs = [genome(1, 0.4, 2), b"", genome(1, 0.5, 3)]
    for contig, found in zip(contigs, chunk_contigs(contigs, 500), strict=True):
        for frame in found.frames:
            codons = contig[frame.start : frame.end].decode()
            if frame.name[0] == "R":
                codons = codons.translate(str.maketrans("ACGT", "TGCA"))[::-1]
            assert frame.nucleotides.decode()[: len(codons)] == codons


@pytest.mark.parametrize("gc", [0.25, 0.4])
def test_one_chunk_that_opens_without_a_stop_codon_proves_nothing(gc: float) -> None:
    contigs = (gene(random.Random(seed), 100, 4, gc)[:-3].encode() for seed in range(99))
    contig = next(c for c in contigs if not chunk_contigs([c], 500)[0].frames)
    assert len(list(open_frames(contig, chunk_spans(len(contig), 500), 4))) == 1
    (found,) = chunk_contigs([contig], 500, [], [1, 4])
    assert (found.genetic_code, found.frames) == (1, [])


def test_nor_do_many_where_stop_codons_are_rare() -> None:
    for gc, code in ((0.6, 4), (0.7, 1)):
        contig = gene(random.Random(0), 12_000, 4, gc).encode()
        (standard,), (found,) = chunk_contigs([contig], 500), chunk_contigs([contig], 500, [], [1, 4])
        assert len(standard.open_chunks) < 0.5 * len(standard.spans)
        assert found.genetic_code == code


def test_shorter_chunks_are_read_in_the_standard_code() -> None:
    (found,) = chunk_contigs([TGA * 20], 500, [300, 150], [1, 4])
    assert (found.chunk_size, found.genetic_code, found.frames) == (500, 1, [])


def test_of_codes_that_open_the_same_chunks_the_first_is_taken() -> None:
    for codes in ([4, 25], [25, 4]):  # both have the same stops
        (found,) = chunk_contigs([genome(4, 0.4)], 500, [], codes)
        assert found.genetic_code == codes[0]
        (found,) = chunk_contigs([b"GCC" * 700], 500, [], codes)
        assert found.genetic_code == 1


def test_chunks_that_are_not_shorter_are_not_tried() -> None:
    closed = "TTAATTAATTAA" * 9
    contig = (closed[:103] + ("GCC" * 37)[:110] + closed[:97]).encode()
    assert len(chunk_contigs([contig], 110)[0].frames) == 6
    (found,) = chunk_contigs([contig], 100, [110])
    assert (found.chunk_size, found.frames) == (100, [])
