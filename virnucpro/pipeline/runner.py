"""Bins through the model, with the next bin made ready while one runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from virnucpro.data.collation import PackedBatch, VarlenCollator
from virnucpro.models.esm2 import ESM2, mean_pool

Sequences = Sequence[Mapping[str, Any]]


class AsyncInferenceRunner:
    """Embeds bins of sequences with a packed model.

    Args:
        model: on the device it is to run on.
        collator: makes a packed batch of a bin.
    """

    def __init__(self, model: ESM2, collator: VarlenCollator | None = None) -> None:
        self.model = model
        self.collator = collator or VarlenCollator()
        self.device = model.inv_freq.device

    def run(self, bins: Iterable[Sequences]) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
        """Yield the ids and mean-pooled embeddings, float32 [sequences, embed_dim], of every bin, in order.

        Raises:
            UserError: a sequence cannot be tokenised.
        """
        waiting = iter(bins)
        with ThreadPoolExecutor(max_workers=1) as pool:
            ready = pool.submit(self._collate, waiting)
            while (batch := ready.result()) is not None:
                ready = pool.submit(self._collate, waiting)
                yield batch.ids, self._embed(batch)

    def _collate(self, waiting: Iterator[Sequences]) -> PackedBatch | None:
        sequences = next(waiting, None)
        if sequences is None:
            return None
        batch = self.collator(sequences)
        return batch.pin_memory() if self.device.type == "cuda" else batch

    @torch.inference_mode()
    def _embed(self, batch: PackedBatch) -> npt.NDArray[np.float32]:
        batch = batch.to(self.device)
        embeddings: npt.NDArray[np.float32] = mean_pool(self.model(batch), batch).cpu().numpy()
        return embeddings
