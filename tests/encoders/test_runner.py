"""Bins of sequences through a model: unchanged, padded to shapes, or split."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.encoders.test_compiled import SHAPES, random_unpacked_model
from virnucpro.data import PackedBatch, VarlenCollator
from virnucpro.encoders import runner
from virnucpro.encoders.alphabet import ESM2Tokenizer
from virnucpro.encoders.runner import AsyncInferenceRunner, EmbeddedBin, mean_pool

Bins = list[list[dict[str, Any]]]


@pytest.fixture
def bins() -> Bins:
    return [
        [{"id": f"{b}_{n}", "sequence": "MKTAYIAKQRQISFVK"[:n], "pool": (n // 2, n)} for n in range(2, 2 + count)]
        for b, count in enumerate((5, 1, 9))
    ]


def embedded(bins: Bins, **settings: Any) -> list[EmbeddedBin]:
    return list(AsyncInferenceRunner(random_unpacked_model(), layers=[1, -1], per_residue=True, **settings).run(bins))


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[PackedBatch]:
    """The batches that runners launch."""
    launch, batches = AsyncInferenceRunner._launch, []

    def recorded(self: AsyncInferenceRunner, batch: PackedBatch, pooled: Any) -> Any:
        batches.append(batch)
        return launch(self, batch, pooled)

    monkeypatch.setattr(AsyncInferenceRunner, "_launch", recorded)
    return batches


def assert_same(found: list[EmbeddedBin], expected: list[EmbeddedBin]) -> None:
    for one, two in zip(found, expected, strict=True):
        assert one.ids == two.ids
        np.testing.assert_allclose(one.embeddings, two.embeddings, rtol=0, atol=1e-5)
        np.testing.assert_allclose(one.residues, two.residues, rtol=0, atol=1e-5)


def test_bins_filled_up_or_split_have_the_same_embeddings(
    bins: Bins, launched: list[PackedBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = embedded(bins)
    assert [len(one.residues) for one in expected] == [sum(n - n // 2 for n in range(2, 2 + c)) for c in (5, 1, 9)]
    launched.clear()
    assert_same(embedded(bins, shapes=SHAPES), expected)
    assert [batch.shape for batch in launched] == [SHAPES[0], SHAPES[0], SHAPES[1]]
    monkeypatch.setattr(runner, "MOST_SEQUENCES", 3)
    launched.clear()
    assert_same(embedded(bins), expected)
    assert_same(embedded(bins, shapes=SHAPES), expected)
    assert max(batch.shape.sequences for batch in launched) <= 3


def test_what_does_not_fit_goes_on_uncompiled_and_no_longer_filled_up(
    bins: Bins, launched: list[PackedBatch], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = embedded(bins)
    launched.clear()
    model = random_unpacked_model()
    forward = model.representations

    def starved(batch: PackedBatch, wanted: Any) -> Any:
        # The bin of one sequence fits: it may have been filled up before it was known that others do not.
        if batch.shape in SHAPES and len(batch.ids) > 1:
            raise torch.OutOfMemoryError
        return forward(batch, wanted)

    monkeypatch.setattr(model, "representations", starved)
    runs = AsyncInferenceRunner(model, layers=[1, -1], per_residue=True, shapes=SHAPES)
    assert_same(list(runs.run(bins)), expected)
    assert not runs.compiled
    assert "the model goes on uncompiled" in caplog.text
    assert launched[-1].padding < 64, "the first two bins were filled up when it was not known yet"


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_each_core_embeds_a_bin_of_its_own(bins: Bins, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, both, threads = AsyncInferenceRunner._launch, threading.Barrier(2), []

    def recorded(self: AsyncInferenceRunner, batch: PackedBatch, pooled: Any) -> Any:
        both.wait(timeout=600)  # it breaks if a bin waits for the end of another
        threads.append(torch.get_num_threads())
        return launch(self, batch, pooled)

    torch.set_num_threads(1)
    expected = embedded([*bins, bins[0]])
    torch.set_num_threads(2)
    monkeypatch.setattr(AsyncInferenceRunner, "_launch", recorded)
    found = embedded([*bins, bins[0]])
    assert threads == [1, 1, 1, 1]
    assert torch.get_num_threads() == 2
    for one, two in zip(found, expected, strict=True):  # they do not depend on the number of cores
        np.testing.assert_array_equal(one.embeddings, two.embeddings)
        np.testing.assert_array_equal(one.residues, two.residues)


def test_a_cpu_hands_over_each_bin_when_it_is_done(bins: Bins, launched: list[PackedBatch]) -> None:
    """A kill costs the bins in progress: one per core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = AsyncInferenceRunner(random_unpacked_model()).run(bins * 4)
    next(found)
    time.sleep(1)
    assert len(launched) <= 3, "one is handed over, one is waiting, and one is in progress"
    del found
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_pooled_tokens_are_found_while_the_device_works(bins: Bins, monkeypatch: pytest.MonkeyPatch) -> None:
    pooled, threads = PackedBatch.pooled, []

    def recorded(self: PackedBatch) -> torch.Tensor:
        threads.append(threading.current_thread())
        return pooled(self)

    monkeypatch.setattr(PackedBatch, "pooled", recorded)
    embedded(bins)
    assert len(threads) == len(bins)
    assert threading.main_thread() not in threads


def test_pooling_sums_no_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU adds the tokens of a segment one by one, and most of a batch of a fixed shape may be padding."""
    batch = VarlenCollator(ESM2Tokenizer(), SHAPES)([{"id": "a", "sequence": "MKT"}, {"id": "b", "sequence": "MKTAY"}])
    assert batch.padding == 52
    segment_reduce, summed = torch.segment_reduce, []

    def recorded(data: torch.Tensor, *arguments: Any, **settings: Any) -> torch.Tensor:
        summed.append((len(data), int(settings["lengths"].sum())))
        return segment_reduce(data, *arguments, **settings)

    monkeypatch.setattr(torch, "segment_reduce", recorded)
    representation = torch.arange(128.0).view(64, 2)
    found = mean_pool(representation, batch)
    assert summed == [(12, 12)]
    torch.testing.assert_close(found, torch.stack([representation[1:4].mean(0), representation[6:11].mean(0)]))
