"""K-mers of proteins: sketches and shared k-mers against a plain implementation with sets."""

import random
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.naming.kmers import Index, Sketches, index, shared_kmers, sketch

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def kept_kmers(protein: bytes) -> set[int]:
    """Return the numbers of the kept k-mers of a protein, by a loop."""
    numbers = set()
    for start in range(len(protein) - 6):
        residues = protein[start : start + 7].decode()
        if set(residues) <= set(LETTERS):
            number = sum(LETTERS.index(residue) * 20**power for power, residue in enumerate(reversed(residues)))
            if split_mix(number) < 2**61:
                numbers.add(number)
    return numbers


def split_mix(number: int) -> int:
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
    return number ^ number >> 31


def kept_by_owner(proteins: Sequence[bytes], owners: Sequence[int]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for protein, owner in zip(proteins, owners, strict=True):
        found.setdefault(owner, set()).update(kept_kmers(protein))
    return {owner: kmers for owner, kmers in found.items() if kmers}


def random_proteins(count: int, seed: int = 0, letters: str = LETTERS) -> list[bytes]:
    rng = random.Random(seed)
    return ["".join(rng.choices(letters, k=rng.randint(0, 120))).encode() for _ in range(count)]


def sketch_of(proteins: Sequence[bytes], owners: Sequence[int]) -> Sketches:
    return sketch(proteins, np.array(owners, np.int64))


def as_sets(sketches: Sketches) -> dict[int, set[int]]:
    owners, kmers = sketches.owners.tolist(), sketches.kmers.tolist()
    pairs = list(zip(owners, kmers, strict=True))
    assert pairs == sorted(set(pairs)), "sorted, each once"
    return {owner: {kmer for one, kmer in pairs if one == owner} for owner in owners}


def test_sketches_by_the_definition() -> None:
    proteins = [*random_proteins(20), *random_proteins(20, 1, LETTERS + "XUX*BZ"), b"", b"MKLVIN"]
    owners = [number % 7 for number in range(len(proteins))]
    sketches = sketch_of(proteins, owners)
    assert [str(part.dtype) for part in sketches] == ["int64", "uint32"]
    assert as_sets(sketches) == kept_by_owner(proteins, owners)
    assert as_sets(sketch_of(proteins[::-1], owners[::-1])) == as_sets(sketches)


def test_one_kmer_in_eight_is_kept() -> None:
    protein = b"".join(random_proteins(400))
    kmers = len({protein[start : start + 7] for start in range(len(protein) - 6)})
    assert len(sketch_of([protein], [0]).kmers) / kmers == pytest.approx(1 / 8, rel=0.05)


def test_all_kmers_fit_into_32_bits() -> None:
    kept = [kmer for kmer in range(20**7 - 100, 20**7) if split_mix(kmer) < 2**61]
    residues = ["".join(LETTERS[kmer // 20**power % 20] for power in reversed(range(7))) for kmer in kept]
    assert sketch_of([one.encode() for one in residues], [2**31] * len(kept)).kmers.tolist() == kept


@pytest.mark.parametrize("proteins", [[], [b""], [b"MKLVIN", b"GKTLKGEITIE"[:6]], [b"MKLXINGKTUKGEIT"]])
def test_nothing_to_compare(proteins: list[bytes]) -> None:
    sketches = sketch_of(proteins, list(range(len(proteins))))
    assert (sketches.owners.tolist(), sketches.kmers.tolist()) == ([], [])
    assert shared_kmers(sketches, index(sketch_of(random_proteins(3), [0, 1, 2]))).empty
    assert shared_kmers(sketch_of(random_proteins(3), [0, 1, 2]), index(sketches)).empty


def test_no_kmer_spans_two_proteins() -> None:
    protein = random_proteins(1, letters=LETTERS)[0] * 4
    pieces = [protein[start : start + 6] for start in range(0, len(protein), 6)]
    assert len(sketch_of([protein], [0]).kmers) > 5
    assert not len(sketch_of(pieces, [0] * len(pieces)).kmers)


def members_of(made: Index) -> dict[int, list[int]]:
    """Return the references that hold each k-mer."""
    sets = [made.members[start:end].tolist() for start, end in zip(made.starts[:-1], made.starts[1:], strict=True)]
    assert sorted(map(tuple, sets)) == sorted(set(map(tuple, sets))), "each set once"
    return {kmer: sets[number] for kmer, number in zip(made.kmers.tolist(), made.sets.tolist(), strict=True)}


def test_an_index_of_one_reference_and_of_many() -> None:
    proteins = random_proteins(30)
    (alone,) = kept_by_owner([b"".join(proteins)], [0]).values()
    assert members_of(index(sketch_of([b"".join(proteins)], [0]))) == {kmer: [0] for kmer in alone}
    owners = [0, 1, 2, 258, 515, 65_534] * 5  # numbers whose bytes have another order
    both = proteins + proteins[::-1], owners + owners
    expected = kept_by_owner(*both)
    found = members_of(index(sketch_of(*both)))
    assert list(found) == sorted(set().union(*expected.values()))
    assert found == {kmer: sorted(owner for owner in expected if kmer in expected[owner]) for kmer in found}
    assert any(len(references) > 1 for references in found.values())


def shared_by_sets(queries: dict[int, set[int]], references: dict[int, set[int]]) -> list[tuple[int, ...]]:
    rows = [
        (owner, reference, len(kmers & others), len(kmers))
        for owner, kmers in queries.items()
        for reference, others in references.items()
        if kmers & others
    ]
    return sorted(rows, key=lambda row: (row[0], -row[2], row[1]))


def rows_of(hits: pd.DataFrame) -> list[tuple[int, ...]]:
    assert hits.columns.tolist() == ["owner", "reference", "shared", "kmers"]
    assert hits.index.tolist() == list(range(len(hits)))
    return [tuple(row) for row in hits.to_numpy().tolist()]


BLOCKS = random_proteins(8, 5)
PROTEINS = st.lists(
    st.tuples(st.lists(st.sampled_from(BLOCKS), max_size=3).map(b"X".join), st.integers(0, 4)), max_size=8
)


@given(PROTEINS, PROTEINS)
def test_shared_kmers_by_sets(contigs: list[tuple[bytes, int]], known: list[tuple[bytes, int]]) -> None:
    queries, references = ([one for one, _ in made] for made in (contigs, known))
    owners, numbers = ([owner for _, owner in made] for made in (contigs, known))
    hits = shared_kmers(sketch_of(queries, owners), index(sketch_of(references, numbers)))
    assert rows_of(hits) == shared_by_sets(kept_by_owner(queries, owners), kept_by_owner(references, numbers))


def test_those_with_most_shared_kmers_come_first() -> None:
    long, short = b"".join(BLOCKS), BLOCKS[0] + BLOCKS[1]
    hits = shared_kmers(sketch_of([long], [3]), index(sketch_of([short, long, short], [0, 1, 2])))
    count, fewer = len(kept_kmers(long)), len(kept_kmers(short))
    assert rows_of(hits) == [(3, 1, count, count), (3, 0, fewer, count), (3, 2, fewer, count)]
