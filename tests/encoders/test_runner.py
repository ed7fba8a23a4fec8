"""Bins of sequences through a model: as they are, filled up to one shape, or split."""

from typing import Any

import numpy as np
import pytest

from tests.encoders.test_compiled import SHAPE, random_unpacked_model
from virnucpro.data import PackedBatch
from virnucpro.encoders import runner
from virnucpro.encoders.runner import AsyncInferenceRunner, EmbeddedBin


def embedded(bins: list[list[dict[str, Any]]], **settings: Any) -> list[EmbeddedBin]:
    return list(AsyncInferenceRunner(random_unpacked_model(), layers=[1, -1], per_residue=True, **settings).run(bins))


def test_bins_filled_up_or_split_have_the_same_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    bins = [
        [{"id": f"{b}_{n}", "sequence": "MKTAYIAKQRQISFVK"[:n], "pool": (n // 2, n)} for n in range(2, 2 + count)]
        for b, count in enumerate((5, 1, 8))
    ]
    expected = embedded(bins)
    filled_up = embedded(bins, shape=SHAPE)
    monkeypatch.setattr(runner, "MOST_SEQUENCES", 3)
    launch, launched = AsyncInferenceRunner._launch, []

    def recorded(self: AsyncInferenceRunner, batch: PackedBatch) -> Any:
        launched.append(batch.shape.sequences)
        return launch(self, batch)

    monkeypatch.setattr(AsyncInferenceRunner, "_launch", recorded)
    split = embedded(bins)
    filled_up_and_split = embedded(bins, shape=SHAPE)
    assert max(launched) <= 3
    for found in (filled_up, split, filled_up_and_split):
        for one, two in zip(found, expected, strict=True):
            assert one.ids == two.ids
            np.testing.assert_allclose(one.embeddings, two.embeddings, rtol=0, atol=1e-5)
            np.testing.assert_allclose(one.residues, two.residues, rtol=0, atol=1e-5)
    assert [len(one.residues) for one in expected] == [sum(n - n // 2 for n in range(2, 2 + c)) for c in (5, 1, 8)]
