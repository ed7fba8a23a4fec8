"""The forward of batches of one shape on a GPU: its parts compiled, and the whole captured as one CUDA graph."""

from collections.abc import Collection
from typing import cast

import torch
from torch import Tensor

from virnucpro.data.collation import BatchShape, PackedBatch
from virnucpro.encoders.esm2 import ESM2, Layer
from virnucpro.errors import UserError

WARM_UPS = 3  # forwards before the capture: the first compiles, and libraries choose their kernels


class StaticForward:
    """`ESM2.representations` for batches of one shape; others go through the model as ever.

    Args:
        model: its layers are compiled, and captured on CUDA, with flash-attn or torch's varlen attention.
        shape: of the batches.
    """

    def __init__(self, model: ESM2, shape: BatchShape) -> None:
        self.model = model
        self.shape: BatchShape | None = shape
        self._graph: torch.cuda.CUDAGraph | None = None
        compile_layers(model)

    @torch.inference_mode()
    def __call__(self, batch: PackedBatch, wanted: Collection[int]) -> dict[int, Tensor]:
        """Return the representations of the layers by number; the same layers every time, which the next overwrites.

        Raises:
            torch.OutOfMemoryError: at the first batch of the shape, if that does not fit.
            UserError: there, if torch cannot compile on this machine.
        """
        if batch.shape != self.shape:
            with torch.compiler.set_stance("force_eager"):  # another shape would compile anew
                return self.model.representations(batch, wanted)
        if not batch.input_ids.is_cuda:  # the compiled layers alone
            return self._compile_and_run(batch, wanted)
        if self._graph is None:
            self._capture(batch, wanted)
        self._batch.input_ids.copy_(batch.input_ids)
        self._batch.cu_seqlens.copy_(batch.cu_seqlens)
        cast(torch.cuda.CUDAGraph, self._graph).replay()
        return self._found

    def _capture(self, batch: PackedBatch, wanted: Collection[int]) -> None:
        self._batch = batch.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._compile_and_run(self._batch, wanted)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Of this thread alone: another pins the memory of the next batch meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._found = self.model.representations(self._batch, wanted)
        self._graph = graph

    def release(self) -> None:
        """Give up the graph and its memory, that of a whole forward; all batches go through the model from now on."""
        self.shape = self._graph = None
        self._found = {}

    def _compile_and_run(self, batch: PackedBatch, wanted: Collection[int]) -> dict[int, Tensor]:
        try:
            return self.model.representations(batch, wanted)
        except RuntimeError as error:
            if not isinstance(error, torch._dynamo.exc.TorchDynamoException):
                raise
            if isinstance(out_of_memory := getattr(error, "inner_exception", None), torch.OutOfMemoryError):
                raise out_of_memory from None
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"torch cannot compile the model on this machine ({reason}); set compile to false"
            ) from error


def compile_layers(model: ESM2) -> None:
    """Have torch compile all of a layer that works on single tokens: once, for all layers and one number of tokens.

    Not with weights that are laid out for oneDNN, which the compiler cannot read.
    """
    for layer in cast(list[Layer], model.layers):
        layer.project = torch.compile(layer.project, dynamic=False, fullgraph=True)  # type: ignore[method-assign]
        layer.feed_forward = torch.compile(layer.feed_forward, dynamic=False, fullgraph=True)  # type: ignore[method-assign]
