"""A compiled forward pass for batches of a few shapes; on a GPU, each shape is captured as a CUDA graph."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from virnucpro.data.collation import BatchShape, PackedBatch
from virnucpro.encoders.checkpoint import Encoder
from virnucpro.errors import UserError

WARM_UPS = 3  # forward passes before a capture: the first compiles, and libraries choose their kernels

# A graph, the batch that it reads and the representations that it writes.
_Captured = tuple[torch.cuda.CUDAGraph, PackedBatch, dict[int, Tensor]]


class StaticForward:
    """`ESM.representations` for batches of given shapes; other batches run through the model without compilation.

    The layers of the model are compiled. On CUDA the model must be capturable.
    """

    def __init__(self, model: Encoder, shapes: Collection[BatchShape]) -> None:
        self.model = model
        self.shapes = set(shapes)
        self._captured: dict[BatchShape, _Captured] = {}
        self._pool: Any = None  # memory that the graphs share: one runs at a time
        model.compile_layers()

    @torch.inference_mode()
    def __call__(self, batch: PackedBatch, wanted: Collection[int]) -> dict[int, Tensor]:
        """Return the representations of some layers by number, valid until the next call.

        The layers must be the same at every call.

        Raises:
            torch.OutOfMemoryError: the first batch of a shape does not fit.
            UserError: Torch cannot compile on this machine; at the first batch of a shape.
        """
        if batch.shape not in self.shapes:
            with torch.compiler.set_stance("force_eager"):  # another shape would be compiled
                return self.model.representations(batch, wanted)
        if not batch.input_ids.is_cuda:  # compiled, but with nothing to capture
            return self._compile_and_run(batch, wanted)
        if batch.shape not in self._captured:
            self._captured[batch.shape] = self._capture(batch, wanted)
        graph, captured, found = self._captured[batch.shape]
        captured.input_ids.copy_(batch.input_ids)
        captured.cu_seqlens.copy_(batch.cu_seqlens)
        graph.replay()
        return found

    def _capture(self, batch: PackedBatch, wanted: Collection[int]) -> _Captured:
        batch = batch.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._compile_and_run(batch, wanted)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # The capture covers only this thread: another thread pins the memory of the next batch meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            found = self.model.representations(batch, wanted)
        self._pool = graph.pool()
        return graph, batch, found

    def release(self) -> None:
        """Free all graphs and their memory; later batches run through the model without compilation."""
        self.shapes = set()
        self._captured = {}
        self._pool = None

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
