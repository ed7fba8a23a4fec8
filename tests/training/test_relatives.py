"""Training fragments to leave out: cells with genes of viruses, and viruses close to viruses of the test."""

import random

import pandas as pd
import pytest

from tests.conftest import AMINO_ACIDS
from virnucpro.training.relatives import kmers_of, spoilt_fragments

HOLDS, CLOSE = "cellular, but with proteins of viruses", "close to test fragments of their label"


@pytest.fixture
def proteins(rng: random.Random) -> list[str]:
    return ["".join(rng.choices(AMINO_ACIDS, k=120)) for _ in range(40)]


def spoilt(fragments: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the fragments to leave out, by reason, from proteins of fragments named LABEL_SPLIT_NUMBER."""
    table = pd.DataFrame([name.split("_")[:2] for name in fragments], columns=["label", "split"], index=[*fragments])
    rows = [(name, sequence.encode()) for name, sequences in fragments.items() for sequence in sequences]
    return spoilt_fragments(table, pd.DataFrame(rows, columns=["contig", "sequence"]))


def test_kmers_are_distinct_and_the_same_wherever_they_lie() -> None:
    assert len(kmers_of(b"MKVLAAGMKVLAAG")) == 7
    assert set(kmers_of(b"MKVLAAG")) <= set(kmers_of(b"WWMKVLAAGHH"))
    assert not set(kmers_of(b"MKVLAAG")) & set(kmers_of(b"MKVLAGA"))
    assert len(kmers_of(b"MKVLAA")) == 0


def test_a_cellular_fragment_needs_two_proteins_of_viruses_and_a_share_of_all(proteins: list[str]) -> None:
    one, two, *others = proteins
    found = spoilt(
        {
            "viral_train_1": [one, two, others[0]],
            "cellular_train_two": [one, others[1], two],
            "cellular_train_one": [one, others[2]],
            "cellular_train_few": [one, two, *others[3:15]],
            "cellular_test_two": [one, two],
            "cellular_train_part": [one[:30] + others[20][30:], two[:30] + others[21][30:]],
            "cellular_train_most": [one[:60] + others[22][60:], two[:60] + others[23][60:], "MKV"],
        }
    )
    assert found[HOLDS] == ["cellular_train_most", "cellular_train_two"]


@pytest.mark.parametrize("label", ["viral", "cellular"])
def test_a_fragment_that_shares_a_twentieth_with_the_test_of_its_label_is_close(
    label: str, proteins: list[str]
) -> None:
    tested, *others = proteins
    other = {"viral": "cellular", "cellular": "viral"}[label]
    found = spoilt(
        {
            f"{label}_test_1": [tested],
            f"{label}_train_near": [others[0], others[1] + tested[:30]],
            f"{label}_train_far": [*others[2:10], others[10] + tested[:30]],
            f"{label}_train_short": ["MKV"],
            f"{other}_train_1": [tested, others[11]],
        }
    )
    assert found[CLOSE] == [f"{label}_train_near"]
