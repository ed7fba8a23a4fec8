"""Bins through the model, with the next bin made ready while one runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch

from virnucpro.data.collation import PackedBatch, VarlenCollator
from virnucpro.data.embeddings import Rows
from virnucpro.models.esm2 import ESM2, mean_pool

Sequences = Sequence[Mapping[str, Any]]


class EmbeddedBin(NamedTuple):
    """The embeddings of a bin's sequences, and of the residues that were pooled where these were asked for.

    Both are float32; rows of `embeddings` are sequences, of `residues` the pooled residues of every sequence in turn; a
    row is [embed_dim], or [layers, embed_dim] for several layers.
    """

    ids: list[str]
    embeddings: Rows
    residues: Rows | None


class AsyncInferenceRunner:
    """Embeds bins of sequences with a packed model.

    Args:
        model: on the device it is to run on.
        collator: makes a packed batch of a bin.
        layers: numbers of the layers wanted; negative ones count from the end.
        per_residue: whether to give the residues' embeddings beside their means.
    """

    def __init__(
        self,
        model: ESM2,
        collator: VarlenCollator | None = None,
        layers: Sequence[int] = (-1,),
        per_residue: bool = False,
    ) -> None:
        self.model = model
        self.collator = collator or VarlenCollator()
        self.layers = model.resolve_layers(layers)
        self.per_residue = per_residue
        self.device = model.inv_freq.device

    def run(self, bins: Iterable[Sequences]) -> Iterator[EmbeddedBin]:
        """Yield the embeddings of every bin, in order.

        Raises:
            UserError: a sequence cannot be tokenised.
        """
        waiting = iter(bins)
        with ThreadPoolExecutor(max_workers=1) as pool:
            ready = pool.submit(self._collate, waiting)
            while (batch := ready.result()) is not None:
                ready = pool.submit(self._collate, waiting)
                yield self._embed(batch)

    def _collate(self, waiting: Iterator[Sequences]) -> PackedBatch | None:
        sequences = next(waiting, None)
        if sequences is None:
            return None
        batch = self.collator(sequences)
        return batch.pin_memory() if self.device.type == "cuda" else batch

    @torch.inference_mode()
    def _embed(self, batch: PackedBatch) -> EmbeddedBin:
        batch = batch.to(self.device)
        found = self.model.representations(batch, self.layers)
        representations = [found[layer] for layer in self.layers]
        means = [mean_pool(representation, batch) for representation in representations]
        residues = None
        if self.per_residue:
            pooled = torch.tensor([False, True, False], device=self.device).repeat(len(batch.ids))
            mask = pooled.repeat_interleave(batch.segments.flatten())
            residues = _as_rows([representation[mask] for representation in representations])
        return EmbeddedBin(batch.ids, _as_rows(means), residues)


def _as_rows(of_layers: list[torch.Tensor]) -> Rows:
    """Return [rows, embed_dim] of one layer, [rows, layers, embed_dim] of several."""
    rows: Rows = (of_layers[0] if len(of_layers) == 1 else torch.stack(of_layers, dim=1)).cpu().numpy()
    return rows
