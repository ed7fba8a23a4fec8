"""Packed batches: ESM-2's against fair-esm's own alphabet and batch converter; shapes, and another tokenizer."""

from collections.abc import Sequence
from itertools import accumulate

import esm
import numpy as np
import numpy.typing as npt
import pytest
import torch

from virnucpro.data import PackedBatch, VarlenCollator
from virnucpro.data.collation import BatchShape, batch_shapes
from virnucpro.encoders.alphabet import RESIDUES, ESM2Tokenizer
from virnucpro.errors import UserError


def test_tokens_are_those_of_fair_esm() -> None:
    sequences = [("all", RESIDUES), ("one", "M"), ("two", "MK"), ("usual", "MKTAYIAKQRQISFVK")]
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    _, _, padded = alphabet.get_batch_converter()(sequences)
    batch = VarlenCollator(ESM2Tokenizer())([{"id": name, "sequence": sequence} for name, sequence in sequences])

    assert batch.ids == ["all", "one", "two", "usual"]
    assert batch.input_ids.dtype == torch.int64
    assert batch.cu_seqlens.tolist() == [0, 29, 32, 36, 54, 64]
    assert batch.cu_seqlens.dtype == torch.int32
    assert batch.max_seqlen == 29
    for row, begin, end in zip(padded, batch.cu_seqlens[:-2], batch.cu_seqlens[1:-1], strict=True):
        assert batch.input_ids[begin:end].tolist() == row[: end - begin].tolist()
    assert batch.input_ids[54:].tolist() == [alphabet.padding_idx] * 10
    assert batch.segments.tolist() == [[1, 27, 1], [1, 1, 1], [1, 2, 1], [1, 16, 1]]


def test_a_batch_that_is_full_gets_no_padding() -> None:
    batch = VarlenCollator(ESM2Tokenizer())([{"id": "full", "sequence": "M" * 62}])
    assert batch.cu_seqlens.tolist() == [0, 64]
    assert batch.segments.tolist() == [[1, 62, 1]]


def collate(lengths: Sequence[int], shapes: Sequence[BatchShape] = ()) -> PackedBatch:
    """Pack proteins with these numbers of tokens."""
    return VarlenCollator(ESM2Tokenizer(), shapes)(
        [{"id": str(i), "sequence": "M" * (n - 2)} for i, n in enumerate(lengths)]
    )


def test_a_bin_gets_the_smallest_shape_that_holds_it() -> None:
    bins = [[60, 60], [5], [40, 30, 30], [20, 20, 20, 20, 20, 20, 8]]
    shapes = batch_shapes(bins, 256)
    small, middle = BatchShape(tokens=64, sequences=2, longest=60), BatchShape(tokens=128, sequences=7, longest=60)
    assert shapes == [small, middle], "no bin has more than half of the budget"
    batches = [collate(lengths, shapes) for lengths in bins]
    assert [batch.shape for batch in batches] == [middle, small, middle, middle]
    assert [batch.cu_seqlens.tolist() for batch in batches] == [
        [0, 60, 120, 128, 128, 128, 128, 128],
        [0, 5, 64],
        [0, 40, 70, 100, 128, 128, 128, 128],
        [0, 20, 40, 60, 80, 100, 120, 128],
    ]
    assert [batch.padding for batch in batches] == [8, 59, 28, 0]
    assert [batch.lengths for batch in batches[:3]] == [[60, 60, 8], [5, 59], [40, 30, 30, 28]]
    assert batches[1].segments.tolist() == [[1, 3, 1]]
    assert batches[1].input_ids[5:].tolist() == [1] * 59


def test_padding_is_no_longer_than_the_longest_sequence() -> None:
    (shape,) = batch_shapes([[50], [30, 30]], 64)
    assert collate([5], [shape]).lengths == [5, 50, 9]


@pytest.mark.parametrize(
    "lengths", [[70], [60, 60, 10], [5] * 9], ids=["a longer sequence", "more tokens", "more sequences"]
)
def test_a_bin_that_no_shape_holds_is_filled_up_to_a_multiple_of_64(lengths: list[int]) -> None:
    batch = collate(lengths, [BatchShape(tokens=128, sequences=8, longest=60)])
    assert len(batch.input_ids) == 64 * -(-sum(lengths) // 64)
    assert batch.cu_seqlens.tolist()[: len(lengths) + 1] == [0, *accumulate(lengths)]
    assert batch.max_seqlen == max(batch.lengths)


def test_pooled_tokens() -> None:
    batch = VarlenCollator(ESM2Tokenizer())(
        [{"id": "part", "sequence": "MKTA", "pool": (1, 3)}, {"id": "all", "sequence": "MK"}]
    )
    assert batch.segments.tolist() == [[2, 2, 2], [1, 2, 1]]
    assert batch.pooled().tolist() == [2, 3, 7, 8]


@pytest.mark.parametrize("letter", ["*", "J", "m", "<", ">", "?", "é", " "])
def test_letters_outside_the_alphabet_are_named(letter: str) -> None:
    with pytest.raises(UserError, match=r"p2: .* is not in the ESM-2 alphabet") as caught:
        VarlenCollator(ESM2Tokenizer())([{"id": "p1", "sequence": "MK"}, {"id": "p2", "sequence": f"MK{letter}V"}])
    assert repr(letter) in str(caught.value)


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(UserError, match="p2: an empty sequence"):
        VarlenCollator(ESM2Tokenizer())([{"id": "p1", "sequence": "MK"}, {"id": "p2", "sequence": ""}])


class CodonTokenizer:
    """Another alphabet: a token for three bases, and one special token, at the end."""

    padding = 0
    special_tokens = 1
    before = 0
    after = 1

    def __call__(self, ids: Sequence[str], sequences: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[int]]:
        tokens: list[int] = []
        for name, sequence in zip(ids, sequences, strict=True):
            if len(sequence) % 3:
                raise UserError(f"{name}: {len(sequence)} bases are no codons")
            bases = ["ACGT".index(base) for base in sequence]
            codons = zip(bases[::3], bases[1::3], bases[2::3], strict=True)
            tokens += [*(2 + 16 * a + 4 * b + c for a, b, c in codons), 1]
        return np.array(tokens), [len(sequence) // 3 + 1 for sequence in sequences]


def test_another_tokenizer() -> None:
    bins = [{"id": "one", "sequence": "AAAACG"}, {"id": "two", "sequence": "TTTAAAAAC", "pool": (1, 3)}]
    batch = VarlenCollator(CodonTokenizer())(bins)
    assert batch.input_ids.tolist() == [2, 8, 1, 65, 2, 3, 1, *[0] * 57]
    assert batch.cu_seqlens.tolist() == [0, 3, 7, 64]
    assert batch.segments.tolist() == [[0, 2, 1], [1, 2, 1]]
    assert batch.pooled().tolist() == [0, 1, 4, 5]
    with pytest.raises(UserError, match="two: 4 bases are no codons"):
        VarlenCollator(CodonTokenizer())([bins[0], {"id": "two", "sequence": "ACGT"}])
