"""Run bins through an encoder.

While a GPU works on one bin, the host prepares the next and fetches the previous. On a CPU each core works on a bin of
its own: cores that share a bin wait for each other at every step.
"""

import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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

MOST_AT_ONCE = 16  # bins on a CPU, which limits the memory; with more cores, several share a bin
MOST_SEQUENCES = 65_535  # in a batch: the limit of the second axis of a CUDA grid

Sequences = Sequence[Mapping[str, Any]]
Pinned = TypeVar("Pinned", PackedBatch, Tensor)


class EmbeddedBin(NamedTuple):
    """The embeddings of a bin's sequences and, on request, of their pooled tokens.

    Both are float32 [rows, embed_dim], or [rows, layers, embed_dim] for several layers. Rows of `embeddings` are
    sequences. Rows of `residues` are the pooled tokens of every sequence, one sequence after another.
    """

    ids: list[str]
    embeddings: Rows
    residues: Rows | None


class _Launched(NamedTuple):
    """A batch that a device is working on; its arrays on the host are complete after the event `done`, if any."""

    ids: list[str]
    means: Tensor
    residues: Tensor | None
    done: torch.cuda.Event | None


class AsyncInferenceRunner:
    """Embeds bins of sequences with a packed encoder.

    Args:
        layers: Numbers of the layers to return; negative numbers count from the end.
        per_residue: Whether to return the embedding of every pooled token too.
        shapes: Shapes that batches are padded to for a `StaticForward`; without shapes the model is not compiled.
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
        self._too_many: float = math.inf  # tokens of the smallest bin that did not fit

    @property
    def compiled(self) -> bool:
        """Whether bins run through a `StaticForward`."""
        return self._static is not None

    def run(self, bins: Iterable[Sequences]) -> Iterator[EmbeddedBin]:
        """Yield the embeddings of every bin, in order; a bin that does not fit the memory is split.

        Raises:
            UserError: A sequence cannot be tokenized, or does not fit the memory by itself.
        """
        return self._run_on_gpu(bins) if self.device.type == "cuda" else self._run_on_cpu(bins)

    def _run_on_gpu(self, bins: Iterable[Sequences]) -> Iterator[EmbeddedBin]:
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

    def _run_on_cpu(self, bins: Iterable[Sequences]) -> Iterator[EmbeddedBin]:
        threads = torch.get_num_threads()
        at_once = 1 if self._static else min(threads, MOST_AT_ONCE)
        running: deque[Future[EmbeddedBin]] = deque()
        pool = ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(threads // at_once,))
        try:
            for sequences in bins:
                running.append(pool.submit(self._embed, sequences))
                if len(running) > at_once:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # the pool's threads set it for all that start later

    def _embed(self, sequences: Sequences) -> EmbeddedBin:
        return _fetch(self._launch_or_split(*self._prepare(sequences)))

    def _prepare(self, sequences: Sequences) -> tuple[Sequences, PackedBatch, Tensor | None]:
        """Return a bin, its batch on the host, and with `per_residue` the indices of its pooled tokens."""
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
        # Outside of the handler, which would keep the activations of the failed forward pass in memory.
        again = filled_up or self.compiled  # without padding and compilation first, before the bin is split
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
    tokens = len(representation) - batch.padding  # without padding: a GPU sums a segment token by token
    lengths = batch.segments.flatten()
    # segment_reduce sums in a fixed order, unlike index_add_ on CUDA. Unsafe: checking lengths would wait for the GPU.
    total = torch.segment_reduce(representation[:tokens], "sum", lengths=lengths, axis=0, unsafe=True)[1::3]
    return total / batch.segments[:, 1:2]


def _fetch(parts: list[_Launched]) -> EmbeddedBin:
    """Wait for the batches of one bin and return its embeddings."""
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
    # Only torch's CUDA allocator raises OutOfMemoryError. Others raise a plain RuntimeError: torch and oneDNN on a CPU
    # (oneDNN without a reason), CUDA and cuBLAS on a GPU, e.g. when a graph starts.
    text = str(error)
    on_cpu = ("can't allocate memory", "could not create a", "could not execute a primitive")
    on_cuda = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in on_cpu + on_cuda)


def _as_rows(of_layers: list[Tensor]) -> Tensor:
    """Copy layers to the host as [rows, embed_dim], or [rows, layers, embed_dim] for several; the copy may be async."""
    rows = of_layers[0] if len(of_layers) == 1 else torch.stack(of_layers, dim=1)
    return rows.to("cpu", non_blocking=True)  # torch allocates page-locked memory for it
