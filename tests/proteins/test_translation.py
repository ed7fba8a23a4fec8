"""Six frames: against Biopython, codon by codon."""

import numpy as np
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.proteins.chunking import chunk_spans
from virnucpro.proteins.translation import open_frames

IUPAC = "ACGTNRYSWKMBDHV"


def slow_open_frames(sequence: str, chunk_size: int, code: int = 1) -> list[tuple[int, str, int, int, str, str, int]]:
    found = []
    for chunk, (start, end) in enumerate(chunk_spans(len(sequence), chunk_size)):
        forward = sequence[start:end]
        reverse = forward.translate(str.maketrans("ACGT", "TGCA"))[::-1]
        for strand, letter in ((forward, "F"), (reverse, "R")):
            for offset in range(3):
                codons = [strand[i : i + 3] for i in range(offset, len(strand) - 2, 3)]
                clear = [codon for codon in codons if set(codon) <= set("ACGT")]
                protein = str(Seq("".join(clear)).translate(code))
                if protein and "*" not in protein:
                    nucleotides = strand[offset : offset + 1 + 3 * len(protein)]
                    first = start + offset if letter == "F" else end - offset - 3 * len(codons)
                    place = (int(first), int(first) + 3 * len(codons))
                    found.append(
                        (chunk, f"{letter}{offset + 1}", *place, protein, nucleotides, len(codons) - len(clear))
                    )
    return found


def check(sequence: str, chunk_size: int, code: int = 1) -> None:
    frames = open_frames(sequence.encode(), chunk_spans(len(sequence), chunk_size), code)
    found = [(*f[:4], f.protein.decode(), f.nucleotides.decode(), f.dropped_codons) for f in frames]
    assert found == slow_open_frames(sequence, chunk_size, code)


@given(st.text("ACGT", max_size=400), st.integers(1, 200))
def test_equals_biopython(sequence: str, chunk_size: int) -> None:
    check(sequence, chunk_size)


@given(st.text("ACG", max_size=300), st.integers(1, 150))
def test_equals_biopython_where_few_frames_stop(sequence: str, chunk_size: int) -> None:
    check(sequence, chunk_size)


@given(st.text(IUPAC, max_size=300), st.integers(1, 150))
def test_equals_biopython_with_ambiguous_letters(sequence: str, chunk_size: int) -> None:
    check(sequence, chunk_size)


@given(st.text("ACGT", max_size=400), st.integers(1, 200), st.sampled_from([4, 15, 25]))
def test_equals_biopython_in_other_genetic_codes(sequence: str, chunk_size: int, code: int) -> None:
    check(sequence, chunk_size, code)


@given(st.lists(st.text("ACGN", min_size=1, max_size=120), min_size=1, max_size=6), st.integers(1, 50))
def test_contigs_end_to_end_do_not_mix(contigs: list[str], chunk_size: int) -> None:
    begins = np.cumsum([0, *map(len, contigs)])
    spans = np.concatenate([chunk_spans(len(c), chunk_size) + begin for c, begin in zip(contigs, begins, strict=False)])
    together = [(f.name, f[4:]) for f in open_frames("".join(contigs).encode(), spans)]
    alone = [(f.name, f[4:]) for c in contigs for f in open_frames(c.encode(), chunk_spans(len(c), chunk_size))]
    assert together == alone
