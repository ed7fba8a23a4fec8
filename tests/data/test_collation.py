"""Packed batches: against fair-esm's own alphabet and batch converter."""

import esm
import pytest
import torch

from virnucpro.data import VarlenCollator
from virnucpro.data.collation import RESIDUES, BatchShape, common_shape
from virnucpro.errors import UserError


def test_tokens_are_those_of_fair_esm() -> None:
    sequences = [("all", RESIDUES), ("one", "M"), ("two", "MK"), ("usual", "MKTAYIAKQRQISFVK")]
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    _, _, padded = alphabet.get_batch_converter()(sequences)
    batch = VarlenCollator()([{"id": name, "sequence": sequence} for name, sequence in sequences])

    assert batch.ids == ["all", "one", "two", "usual"]
    assert batch.cu_seqlens.tolist() == [0, 29, 32, 36, 54, 64]
    assert batch.cu_seqlens.dtype == torch.int32
    assert batch.max_seqlen == 29
    for row, begin, end in zip(padded, batch.cu_seqlens[:-2], batch.cu_seqlens[1:-1], strict=True):
        assert batch.input_ids[begin:end].tolist() == row[: end - begin].tolist()
    assert batch.input_ids[54:].tolist() == [alphabet.padding_idx] * 10
    assert batch.segments.tolist() == [[1, 27, 1], [1, 1, 1], [1, 2, 1], [1, 16, 11]]


def test_a_batch_that_is_full_gets_no_padding() -> None:
    batch = VarlenCollator()([{"id": "full", "sequence": "M" * 62}])
    assert batch.cu_seqlens.tolist() == [0, 64]
    assert batch.segments.tolist() == [[1, 62, 1]]


def test_batches_of_a_given_shape() -> None:
    bins = [[40, 30, 30], [60, 60], [5]]
    shape = common_shape(bins, 120)
    assert shape == BatchShape(tokens=128, sequences=4, longest=60)
    batches = [
        VarlenCollator(shape)([{"id": str(i), "sequence": "M" * (n - 2)} for i, n in enumerate(lengths)])
        for lengths in bins
    ]
    assert [batch.shape for batch in batches] == [shape] * 3
    assert [batch.cu_seqlens.tolist() for batch in batches] == [
        [0, 40, 70, 100, 128],
        [0, 60, 120, 128, 128],
        [0, 5, 65, 125, 128],
    ]
    assert [batch.padding for batch in batches] == [28, 8, 123]
    assert [batch.lengths for batch in batches] == [[40, 30, 30, 28], [60, 60, 8], [5, 60, 60, 3]]
    assert batches[2].segments.tolist() == [[1, 3, 124]]


def test_pooled_tokens() -> None:
    batch = VarlenCollator()([{"id": "part", "sequence": "MKTA", "pool": (1, 3)}, {"id": "all", "sequence": "MK"}])
    assert batch.pooled().tolist() == [2, 3, 7, 8]


@pytest.mark.parametrize("letter", ["*", "J", "m", "<", ">", "é", " "])
def test_letters_outside_the_alphabet_are_named(letter: str) -> None:
    with pytest.raises(UserError, match=r"p2: .* is no letter of the ESM-2 alphabet") as caught:
        VarlenCollator()([{"id": "p1", "sequence": "MK"}, {"id": "p2", "sequence": f"MK{letter}V"}])
    assert repr(letter) in str(caught.value)


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(UserError, match="p1: an empty sequence"):
        VarlenCollator()([{"id": "p1", "sequence": ""}])
