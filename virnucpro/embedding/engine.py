"""Run an ESM-2 in this process, or in one process per GPU."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from virnucpro import __version__
from virnucpro.data.description import EmbeddingDescription, layer_numbers
from virnucpro.embedding.store import Store
from virnucpro.embedding.work import Work
from virnucpro.encoders.checkpoint import load_encoder, read_checkpoint
from virnucpro.encoders.devices import DTYPES, count_gpus, lease_device, resolve_precision
from virnucpro.encoders.memory import device_memory, useful_budget
from virnucpro.encoders.memory import token_budget as tokens_that_fit
from virnucpro.encoders.runner import AsyncInferenceRunner
from virnucpro.encoders.weights import find_weights

BINS = 8  # that a process embeds before it asks for more


class Engine(NamedTuple):
    """Checkpoint, description of its embeddings, device (auto, gpu or cpu) and its kind, and tokens of a bin."""

    checkpoint: Path
    description: EmbeddingDescription
    device: str
    device_kind: str  # cuda or cpu
    per_residue: bool
    token_budget: int


def choose_engine(
    model: str,
    layers: Sequence[int],
    per_residue: bool,
    device: str,
    precision: str,
    token_budget: int | None,
    max_sequence_length: int,
    long_proteins: str,
) -> Engine:
    """Find a model, and choose precision and token budget for the device.

    The arguments are described in `virnucpro.embed_proteins`. `per_residue` keeps embeddings of residues, too.

    Raises:
        UserError: The model, layer or device does not exist, or the model does not fit.
    """
    weights = find_weights(model)
    sizes, _ = read_checkpoint(weights.path)
    kind = torch.device("cuda", 0) if count_gpus(device) else torch.device("cpu")
    precision = resolve_precision(precision, kind)
    if token_budget is None:
        itemsize = DTYPES[precision].itemsize
        memory = sizes.memory(itemsize)
        fits = tokens_that_fit(device_memory(kind)[0], memory)
        token_budget = useful_budget(fits, sizes.embed_dim, memory.model_bytes // itemsize, kind.type == "cuda")
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
    return Engine(weights.path, description, device, kind.type, per_residue, token_budget)


def run_engine(
    engine: Engine, work: Work, path: Path | None = None, on_tokens: Callable[[int], None] = lambda _: None
) -> Store:
    """Embed the bins that are missing in a file, with one process per visible device; return all embeddings.

    Without a file, embeddings stay in memory and one device is used. `on_tokens` is a callback that gets the tokens of
    finished bins.
    """
    store = open_store(engine, work, path)
    missing = store.missing()
    tasks = [missing[begin : begin + BINS] for begin in range(0, len(missing), BINS)]
    devices = 1 if engine.device == "cpu" else torch.cuda.device_count()
    processes = min(devices, len(tasks))
    if path is None or processes < 2:
        if missing:
            with _load(engine) as runner:
                for number in store.fill(runner, missing, work.sequence):
                    on_tokens(work.tokens(number))
        return store
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_process, (engine, work, path)) as pool:
        futures = [pool.submit(_run_in_process, bins) for bins in tasks]
        try:
            for future in as_completed(futures):
                on_tokens(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return store


def open_store(engine: Engine, work: Work, path: Path | None = None) -> Store:
    """Return the store of a work, in a file or in memory."""
    description = engine.description
    pooled = work.pieces.pooled[work.piece] if engine.per_residue else None
    kept_for = f"{__version__} {description.digest} {engine.device_kind} {work.digest}"
    return Store(work.bins, description.row_shape, pooled, path, kept_for)


@contextmanager
def _load(engine: Engine) -> Iterator[AsyncInferenceRunner]:
    with lease_device(engine.device) as device:
        model = load_encoder(engine.checkpoint, device, DTYPES[engine.description.precision])
        yield AsyncInferenceRunner(model, engine.description.layers, engine.per_residue)


_arguments: tuple[Engine, Work, Path]  # of a process of the pool


def _start_process(engine: Engine, work: Work, path: Path) -> None:
    global _arguments
    _arguments = (engine, work, path)


@cache
def _load_in_process() -> tuple[ExitStack, AsyncInferenceRunner, Work, Store]:
    """Return the model and the store of a process; the stack holds the device until the process ends."""
    engine, work, path = _arguments
    stack = ExitStack()
    return stack, stack.enter_context(_load(engine)), work, open_store(engine, work, path)


def _run_in_process(bins: list[int]) -> int:
    """Embed bins, and return the number of their tokens."""
    # The model is loaded here: an error of what starts a process would reach nobody.
    _, runner, work, store = _load_in_process()
    return sum(work.tokens(number) for number in store.fill(runner, bins, work.sequence))
