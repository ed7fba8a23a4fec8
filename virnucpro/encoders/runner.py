"""Bins through an encoder. While a GPU works on one bin, the host prepares the next and fetches the one before."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from virnucpro.data.arrays import Rows
from virnucpro.data.collation import FILLED_TO, BatchShape, PackedBatch, VarlenCollator
from virnucpro.data.description import layer_numbers
from virnucpro.encoders.checkpoint import Encoder
from virnucpro.encoders.compiled import StaticForward
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

MOST_SEQUENCES = 65_535  # of a batch: CUDA kernels put them on the second axis of their grid

Sequences = Sequence[Mapping[str, Any]]
Pinned = TypeVar("Pinned", PackedBatch, Tensor)


class EmbeddedBin(NamedTuple):
    """The embeddings of a bin's sequences, and those of their pooled tokens where these were asked for.

    Both are float32 [rows, embed_dim], or [rows, layers, embed_dim] for several layers. Rows of `embeddings` are
    sequences; rows of `residues` are the pooled tokens of every sequence, one sequence after another.
    """

    ids: list[str]
    embeddings: Rows
    residues: Rows | None


class _Launched(NamedTuple):
    """A batch that a device is working on: arrays on the host, filled once `done` has happened, if there is one."""

    ids: list[str]
    means: Tensor
    residues: Tensor | None
    done: torch.cuda.Event | None


class AsyncInferenceRunner:
    """Embeds bins of sequences with a packed encoder.

    Args:
        model: on the device it is to run on.
        layers: numbers of the layers wanted; negative ones count from the end.
        per_residue: whether to give the embedding of every pooled token beside their mean.
        shapes: batches are filled up to these and go through a `StaticForward`; without shapes the model runs as it is.
    """

    def __init__(
        self,
        model: Encoder,
        layers: Sequence[int] = (-1,),
        per_residue: bool = False,
        shapes: Sequence[BatchShape] = (),
    ) -> None:
        self.layers = layer_numbers(layers, model.config.layers)
        self.per_residue = per_residue
        self.device = model.device
        self._collate = VarlenCollator(model.tokenizer, shapes)
        self._static = StaticForward(model, shapes) if shapes else None  # until it runs out of memory
        self._forward = self._static or model.representations
        self._too_many: float = math.inf  # tokens of a bin that did not fit

    @property
    def compiled(self) -> bool:
        """Whether bins go through a `StaticForward`."""
        return self._static is not None

    def run(self, bins: Iterable[Sequences]) -> Iterator[EmbeddedBin]:
        """Yield the embeddings of every bin, in order; a bin that does not fit the memory is split.

        Raises:
            UserError: a sequence cannot be tokenised, or does not fit the memory by itself.
        """
        ready = map(self._prepare, bins)
        before: list[_Launched] = []
        with ThreadPoolExecutor(max_workers=1) as pool:
            prepared = pool.submit(next, ready, None)
            while (following := prepared.result()) is not None:
                prepared = pool.submit(next, ready, None)
                launched = self._launch_or_split(*following)
                if before:
                    yield _fetch(before)
                before = launched
        if before:
            yield _fetch(before)

    def _prepare(self, sequences: Sequences) -> tuple[Sequences, PackedBatch, Tensor | None]:
        """Return a bin, its batch on the host, and the indices of its pooled tokens where each of these is wanted."""
        batch = self._collate(sequences)
        return sequences, self._pin(batch), self._pin(batch.pooled()) if self.per_residue else None

    def _pin(self, on_host: Pinned) -> Pinned:
        return on_host.pin_memory() if self.device.type == "cuda" else on_host

    def _launch_or_split(self, sequences: Sequences, batch: PackedBatch, pooled: Tensor | None) -> list[_Launched]:
        tokens = len(batch.input_ids)
        filled_up = batch.padding >= FILLED_TO
        alone = len(sequences) == 1 and not filled_up
        if alone or (tokens < self._too_many and batch.shape.sequences <= MOST_SEQUENCES):
            try:
                return [self._launch(batch, pooled)]
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
        again = filled_up or self.compiled  # as it is, before it is split
        if self._static:
            self._static.release()
            self._static = None
            self._collate.shapes = ()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(sequences) // 2
        parts = [sequences] if again else [sequences[:half], sequences[half:]]
        return [launched for part in parts for launched in self._launch_or_split(*self._prepare(part))]

    @torch.inference_mode()
    def _launch(self, batch: PackedBatch, pooled: Tensor | None) -> _Launched:
        pooled = None if pooled is None else pooled.to(self.device, non_blocking=True)
        batch = batch.to(self.device)
        found = self._forward(batch, self.layers)
        representations = [found[layer] for layer in self.layers]
        means = _as_rows([mean_pool(representation, batch) for representation in representations])
        residues = None if pooled is None else _as_rows([representation[pooled] for representation in representations])
        done = torch.cuda.current_stream().record_event() if self.device.type == "cuda" else None
        return _Launched(batch.ids, means, residues, done)


def mean_pool(representation: Tensor, batch: PackedBatch) -> Tensor:
    """Return the means over the pooled tokens of every sequence, FP32 [sequences, embed_dim]."""
    tokens = len(representation) - batch.padding  # a GPU sums a segment token by token: padding would make it wait
    lengths = batch.segments.flatten()
    # Sums in a fixed order, which index_add_ on CUDA does not. Unsafe: checking the lengths would wait for a GPU.
    total = torch.segment_reduce(representation[:tokens], "sum", lengths=lengths, axis=0, unsafe=True)[1::3]
    return total / batch.segments[:, 1:2]


def _fetch(parts: list[_Launched]) -> EmbeddedBin:
    """Return the embeddings of one bin, whose parts a device was told to work on, when it is done."""
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
    # Where it is not torch's CUDA allocator that fails, the error is a plain RuntimeError: on a CPU from torch or from
    # oneDNN, which names no reason; on a GPU from CUDA or cuBLAS, as at the start of a graph.
    text = str(error)
    on_cpu = ("can't allocate memory", "could not create a", "could not execute a primitive")
    on_cuda = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in on_cpu + on_cuda)


def _as_rows(of_layers: list[Tensor]) -> Tensor:
    """Return [rows, embed_dim] of one layer, [rows, layers, embed_dim] of several, on the host, maybe filled later."""
    rows = of_layers[0] if len(of_layers) == 1 else torch.stack(of_layers, dim=1)
    return rows.to("cpu", non_blocking=True)  # torch takes page-locked memory for it
