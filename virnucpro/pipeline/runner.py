"""Bins through the model, with the next bin made ready while one runs."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from virnucpro.data.collation import PackedBatch, VarlenCollator
from virnucpro.data.embeddings import Rows, layer_numbers
from virnucpro.errors import UserError
from virnucpro.models.esm2 import ESM2, mean_pool

logger = logging.getLogger(__name__)

MOST_SEQUENCES = 65_535  # of a batch: CUDA kernels put them on the second axis of their grid

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
        self.layers = layer_numbers(layers, model.config.layers)
        self.per_residue = per_residue
        self.device = model.inv_freq.device
        self._too_many: float = math.inf  # tokens of a bin that did not fit

    def run(self, bins: Iterable[Sequences]) -> Iterator[EmbeddedBin]:
        """Yield the embeddings of every bin, in order; a bin that does not fit the memory is split and finished.

        Raises:
            UserError: a sequence cannot be tokenised, or does not fit the memory by itself.
        """
        waiting = iter(bins)
        with ThreadPoolExecutor(max_workers=1) as pool:
            ready = pool.submit(self._collate_next, waiting)
            while (collated := ready.result()) is not None:
                ready = pool.submit(self._collate_next, waiting)
                yield self._embed_or_split(*collated)

    def _collate_next(self, waiting: Iterator[Sequences]) -> tuple[Sequences, PackedBatch] | None:
        sequences = next(waiting, None)
        return None if sequences is None else (sequences, self._collate(sequences))

    def _collate(self, sequences: Sequences) -> PackedBatch:
        batch = self.collator(sequences)
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def _embed_or_split(self, sequences: Sequences, batch: PackedBatch) -> EmbeddedBin:
        tokens = len(batch.input_ids)
        if tokens < self._too_many and len(sequences) <= MOST_SEQUENCES:
            try:
                return self._embed(batch)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if len(sequences) == 1:
                    raise UserError(
                        f"{batch.ids[0]}: its {tokens} tokens do not fit the memory of {self.device}; lower "
                        "max_sequence_length, or use a smaller model, half precision or a larger device"
                    ) from None
                logger.warning("a bin of %d tokens does not fit the memory of %s: bins are split", tokens, self.device)
                self._too_many = tokens
        # Outside of the handler, which would keep the failed forward's activations alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(sequences) // 2
        parts = [self._embed_or_split(part, self._collate(part)) for part in (sequences[:half], sequences[half:])]
        residues = [part.residues for part in parts if part.residues is not None]
        return EmbeddedBin(
            batch.ids,
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate(residues) if residues else None,
        )

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


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch raises a plain RuntimeError, and so does oneDNN, which names no reason.
    text = str(error)
    said = ("can't allocate memory", "could not create a", "could not execute a primitive")
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in said)


def _as_rows(of_layers: list[torch.Tensor]) -> Rows:
    """Return [rows, embed_dim] of one layer, [rows, layers, embed_dim] of several."""
    rows: Rows = (of_layers[0] if len(of_layers) == 1 else torch.stack(of_layers, dim=1)).cpu().numpy()
    return rows
