"""Work through a model: in this process, or in one process for each of several GPUs."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch

from virnucpro.data.description import EmbeddingDescription, layer_numbers
from virnucpro.embedding.store import Store
from virnucpro.embedding.work import Work
from virnucpro.encoders.checkpoint import load_encoder, read_checkpoint
from virnucpro.encoders.devices import DTYPES, lease_device, resolve_precision
from virnucpro.encoders.memory import device_memory, token_budget, useful_budget
from virnucpro.encoders.runner import AsyncInferenceRunner
from virnucpro.encoders.weights import find_weights
from virnucpro.errors import UserError


class Engine(NamedTuple):
    """What embeds: a checkpoint, a description of what comes out of it, a kind of device and the tokens of a bin."""

    checkpoint: Path
    description: EmbeddingDescription
    device: str
    per_residue: bool
    token_budget: int


def choose_engine(
    model: str,
    layers: Sequence[int],
    per_residue: bool,
    device: str,
    precision: str,
    budget: int | None,
    max_sequence_length: int,
    long_proteins: str,
) -> Engine:
    """Find a model, and what suits the device.

    Args:
        model: name or path.
        layers: numbers of the layers wanted; negative ones count from the end.
        per_residue: whether residues' embeddings are wanted beside their means.
        device: auto, gpu or cpu.
        precision: auto, float32, bfloat16 or float16.
        budget: tokens of a bin, or None for what suits the device.
        max_sequence_length: residues that the model takes at once.
        long_proteins: what becomes of longer ones, `cut` or `windows`.

    Raises:
        UserError: there is no such model, layer or device, or the model does not fit.
    """
    weights = find_weights(model)
    sizes, _ = read_checkpoint(weights.path)
    if device == "gpu" and not torch.cuda.is_available():
        raise UserError("device is gpu, but torch sees no CUDA device here; set it to auto to use the CPU")
    kind = torch.device("cuda", 0) if device != "cpu" and torch.cuda.is_available() else torch.device("cpu")
    precision = resolve_precision(precision, kind)
    if budget is None:
        fits = token_budget(device_memory(kind)[0], sizes.memory(DTYPES[precision].itemsize))
        budget = useful_budget(fits, sizes.embed_dim, kind.type == "cuda")
    description = EmbeddingDescription(
        encoder=weights.name,
        encoder_sha256=weights.sha256,
        embed_dim=sizes.embed_dim,
        layers=tuple(layer_numbers(layers, sizes.layers)),
        pooling="mean",
        precision=precision,
        proteins="protein",
        chunk_size=0,
        short_chunks=(),
        max_sequence_length=max_sequence_length,
        long_proteins=long_proteins,
    )
    return Engine(weights.path, description, device, per_residue, budget)


def run_engine(
    engine: Engine, work: Work, store: Store, on_tokens: Callable[[int], None] = lambda tokens: None
) -> None:
    """Embed what a store does not hold yet, on one device.

    Args:
        engine: what embeds.
        work: what is to be embedded.
        store: of its embeddings.
        on_tokens: called with the tokens of each bin that is done.
    """
    with _Worker(engine, work, store) as worker:
        for tokens in worker.run(_missing(store)):
            on_tokens(tokens)


def run_engine_on_all_devices(
    engine: Engine, work: Work, folder: Path, on_tokens: Callable[[int], None] = lambda tokens: None
) -> None:
    """Embed what the store in a folder does not hold yet, with one process for each device that is to be seen.

    Args:
        engine: what embeds.
        work: what is to be embedded.
        folder: of the store.
        on_tokens: called with the tokens of each group that is done.
    """
    store = open_store(engine, work, folder)
    missing = _missing(store)
    processes = min(1 if engine.device == "cpu" else torch.cuda.device_count(), len(missing))
    if processes < 2:
        run_engine(engine, work, store, on_tokens)
        return
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start_worker, (engine, work, folder)
    ) as pool:
        try:
            for future in as_completed([pool.submit(_run_group, group) for group in missing]):
                on_tokens(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def open_store(engine: Engine, work: Work, folder: Path | None = None) -> Store:
    """Return the store of a work's embeddings: the files in a folder, or memory without one."""
    return Store(work, engine.description.row_shape, engine.per_residue, folder)


def _missing(store: Store) -> list[int]:
    return [group for group, done in enumerate(store.done.tolist()) if not done]


class _Worker:
    """A model on a device, which fills a store."""

    def __init__(self, engine: Engine, work: Work, store: Store) -> None:
        self._engine, self._work, self._store = engine, work, store
        self._stack = ExitStack()

    def __enter__(self) -> "_Worker":
        engine = self._engine
        device = self._stack.enter_context(lease_device(engine.device))
        model = load_encoder(engine.checkpoint, device, DTYPES[engine.description.precision])
        self._runner = AsyncInferenceRunner(model, engine.description.layers, engine.per_residue)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, groups: Iterable[int]) -> Iterator[int]:
        """Embed groups of bins, and yield the tokens of each bin that is done."""
        numbered = [(group, pieces) for group in groups for pieces in self._work.groups[group]]
        bins = ([self._sequence(piece) for piece in pieces] for _, pieces in numbered)
        for (group, pieces), embedded in zip(numbered, self._runner.run(bins), strict=True):
            self._store.write(pieces, embedded.embeddings, embedded.residues)
            if pieces is self._work.groups[group][-1]:
                self._store.finish(group)
            yield int(self._work.tokens[pieces].sum())

    def _sequence(self, number: int) -> dict[str, object]:
        sequence, begin, end = self._work.pieces[number]
        return {"id": str(number), "sequence": sequence, "pool": (begin, end)}


_worker: _Worker  # of a process that a pool has started


def _start_worker(engine: Engine, work: Work, folder: Path) -> None:
    global _worker
    _worker = _Worker(engine, work, open_store(engine, work, folder)).__enter__()


def _run_group(group: int) -> int:
    return sum(_worker.run([group]))
