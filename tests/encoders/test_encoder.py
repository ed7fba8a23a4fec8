"""A minimal second encoder, with only the methods that the runner needs."""

from collections.abc import Collection, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.data.test_collation import CodonTokenizer
from virnucpro.data import PackedBatch
from virnucpro.data.collation import BatchShape
from virnucpro.encoders.runner import AsyncInferenceRunner
from virnucpro.errors import UserError

SHAPE = BatchShape(tokens=64, sequences=20, longest=12)


class CodonEncoder:
    """A layer that adds the mean of a sequence's embeddings to each of them."""

    tokenizer = CodonTokenizer()
    config = SimpleNamespace(layers=1, embed_dim=4)
    device = torch.device("cpu")
    capturable = False

    def __init__(self) -> None:
        self.table = torch.randn(66, 4, generator=torch.Generator().manual_seed(0))
        self.compiled = 0

    def representations(self, batch: PackedBatch, wanted: Collection[int]) -> dict[int, torch.Tensor]:
        x = self.table[batch.input_ids]
        mixed = torch.cat([part + part.mean(0) for part in x.split(batch.lengths)])
        return {number: (x, mixed)[number] for number in wanted}

    def compile_layers(self) -> None:
        self.compiled += 1


def expected(bases: str, layer: int) -> np.ndarray:
    """Return the representations of a sequence's codons, computed alone."""
    tokens, _ = CodonTokenizer()(["x"], [bases])
    x = CodonEncoder().table[torch.from_numpy(tokens)]
    return (x, x + x.mean(0))[layer][:-1].numpy()


@pytest.mark.parametrize("shapes", [[], [SHAPE]], ids=["as it is", "compiled"])
@pytest.mark.parametrize("layers", [(-1,), (0, 1)], ids=str)
def test_the_runner_takes_another_encoder(layers: Sequence[int], shapes: list[BatchShape]) -> None:
    model = CodonEncoder()
    bins = [["ACG", "ACGTTTAAA"], ["GGGCCC", "TTT", "CCCAAAGGG"]]
    entries = [[{"id": f"{b}{n}", "sequence": s} for n, s in enumerate(a_bin)] for b, a_bin in enumerate(bins)]
    found = list(AsyncInferenceRunner(model, layers, per_residue=True, shapes=shapes).run(entries))
    assert [one.ids for one in found] == [["00", "01"], ["10", "11", "12"]]
    assert model.compiled == len(shapes)
    for one, a_bin in zip(found, bins, strict=True):
        of_layers = [[expected(bases, layer % 2) for bases in a_bin] for layer in layers]
        residues = np.stack([np.concatenate(rows) for rows in of_layers], axis=1)
        means = np.stack([[rows.mean(0) for rows in sequences] for sequences in of_layers], axis=1)
        np.testing.assert_allclose(one.residues, residues[:, 0] if len(layers) == 1 else residues, rtol=0, atol=1e-6)
        np.testing.assert_allclose(one.embeddings, means[:, 0] if len(layers) == 1 else means, rtol=0, atol=1e-6)


def test_its_layers_and_letters_are_what_counts() -> None:
    with pytest.raises(UserError, match="no layer 2, only 0"):
        AsyncInferenceRunner(CodonEncoder(), [2])
    with pytest.raises(UserError, match="x: 2 bases are no codons"):
        list(AsyncInferenceRunner(CodonEncoder()).run([[{"id": "x", "sequence": "AC"}]]))
