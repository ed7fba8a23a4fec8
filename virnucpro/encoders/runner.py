"""Bins through the model; what the host does for the next bin and the last is done while a GPU works on one."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from virnucpro.data.collation import FILLED_TO, BatchShape, PackedBatch, VarlenCollator
from virnucpro.data.description import layer_numbers
from virnucpro.data.embeddings import Rows
from virnucpro.encoders.compiled import StaticForward
from virnucpro.encoders.esm2 import ESM2, mean_pool
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

MOST_SEQUENCES = 65_535  # of a batch: CUDA kernels put them on the second axis of their grid

Sequences = Sequence[Mapping[str, Any]]
Pinned = TypeVar("Pinned", PackedBatch, torch.Tensor)


class EmbeddedBin(NamedTuple):
    """The embeddings of a bin's sequences, and of the residues that were pooled where these were asked for.

    Both are float32; rows of `embeddings` are sequences, of `residues` the pooled residues of every sequence, one after
    another; a row is [embed_dim], or [layers, embed_dim] for several layers.
    """

    ids: list[str]
    embeddings: Rows
    residues: Rows | None


class _Launched(NamedTuple):
    """What a device was told to embed: arrays on the host, which are filled when `done` has happened, if it is set."""

    ids: list[str]
    means: torch.Tensor
    residues: torch.Tensor | None
    done: torch.cuda.Event | None


class AsyncInferenceRunner:
    """Embeds bins of sequences with a packed model.

    While a GPU works on a bin, the next is made ready and handed to it, and the results of the one before are fetched.

    Args:
        model: on the device it is to run on.
        layers: numbers of the layers wanted; negative ones count from the end.
        per_residue: whether to give the residues' embeddings beside their means.
        shape: of all batches, for a `StaticForward`; without it they go through the model as they are.
    """

    def __init__(
        self, model: ESM2, layers: Sequence[int] = (-1,), per_residue: bool = False, shape: BatchShape | None = None
    ) -> None:
        self.layers = layer_numbers(layers, model.config.layers)
        self.per_residue = per_residue
        self.device = model.inv_freq.device
        self._collate_whole = VarlenCollator(shape)
        self._static = StaticForward(model, shape) if shape else None  # until it runs out of memory
        self._forward = self._static or model.representations
        self._too_many: float = math.inf  # tokens of a bin that did not fit

    @property
    def compiled(self) -> bool:
        """Whether bins go through a `StaticForward`."""
        return self._static is not None

    def run(self, bins: Iterable[Sequences]) -> Iterator[EmbeddedBin]:
        """Yield the embeddings of every bin, in order; a bin that does not fit the memory is split and finished.

        Raises:
            UserError: a sequence cannot be tokenised, or does not fit the memory by itself.
        """
        waiting = iter(bins)
        before: list[_Launched] = []
        with ThreadPoolExecutor(max_workers=1) as pool:
            ready = pool.submit(self._collate_next, waiting)
            while (collated := ready.result()) is not None:
                ready = pool.submit(self._collate_next, waiting)
                launched = self._launch_or_split(*collated)
                if before:
                    yield _fetch(before)
                before = launched
        if before:
            yield _fetch(before)

    def _collate_next(self, waiting: Iterator[Sequences]) -> tuple[Sequences, PackedBatch] | None:
        sequences = next(waiting, None)
        return None if sequences is None else (sequences, self._pin(self._collate_whole(sequences)))

    def _pin(self, on_host: Pinned) -> Pinned:
        return on_host.pin_memory() if self.device.type == "cuda" else on_host

    def _launch_or_split(self, sequences: Sequences, batch: PackedBatch) -> list[_Launched]:
        tokens = len(batch.input_ids)
        filled_up = batch.padding >= FILLED_TO
        alone = len(sequences) == 1 and not filled_up
        if alone or (tokens < self._too_many and batch.shape.sequences <= MOST_SEQUENCES):
            try:
                return [self._launch(batch)]
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                if alone and not self.compiled:
                    raise UserError(
                        f"{batch.ids[0]}: its {tokens} tokens do not fit the memory of {self.device}; lower "
                        "max_sequence_length, or use a smaller model, half precision or a larger device"
                    ) from None
                what_next = "the model goes on uncompiled" if self.compiled else "bins are split"
                logger.warning("a bin of %d tokens does not fit the memory of %s: %s", tokens, self.device, what_next)
                if not self.compiled:
                    self._too_many = tokens
        # Outside of the handler, which would keep the failed forward's activations alive.
        as_it_is = filled_up or self.compiled
        if self._static:
            self._static.release()
            self._static = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(sequences) // 2
        parts = [sequences] if as_it_is else [sequences[:half], sequences[half:]]
        collate = VarlenCollator()
        return [launched for part in parts for launched in self._launch_or_split(part, self._pin(collate(part)))]

    @torch.inference_mode()
    def _launch(self, batch: PackedBatch) -> _Launched:
        pooled = self._pin(batch.pooled()).to(self.device, non_blocking=True) if self.per_residue else None
        on_device = batch.to(self.device)
        found = self._forward(on_device, self.layers)
        representations = [found[layer] for layer in self.layers]
        means = _as_rows([mean_pool(representation, on_device) for representation in representations])
        residues = None if pooled is None else _as_rows([representation[pooled] for representation in representations])
        done = torch.cuda.current_stream().record_event() if self.device.type == "cuda" else None
        return _Launched(batch.ids, means, residues, done)


def _fetch(parts: list[_Launched]) -> EmbeddedBin:
    """Return what a device was told to embed, when it is done."""
    for part in parts:
        if part.done:
            part.done.synchronize()
    residues = [part.residues.numpy() for part in parts if part.residues is not None]
    return EmbeddedBin(
        [name for part in parts for name in part.ids],
        np.concatenate([part.means.numpy() for part in parts]),
        np.concatenate(residues) if residues else None,
    )


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch raises a plain RuntimeError, and so does oneDNN, which names no reason; so do CUDA and cuBLAS where
    # it is not torch that allocates, as at the start of a graph.
    text = str(error)
    on_cpu = ("can't allocate memory", "could not create a", "could not execute a primitive")
    on_cuda = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in on_cpu + on_cuda)


def _as_rows(of_layers: list[torch.Tensor]) -> torch.Tensor:
    """Return [rows, embed_dim] of one layer, [rows, layers, embed_dim] of several, on the host, maybe filled later."""
    rows = of_layers[0] if len(of_layers) == 1 else torch.stack(of_layers, dim=1)
    return rows.to("cpu", non_blocking=True)  # torch takes page-locked memory for it
