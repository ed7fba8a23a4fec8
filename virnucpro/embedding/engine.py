"""Run an ESM-2 in this process, or in one process per GPU."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from virnucpro.data.arrays import Mask
from virnucpro.data.description import EmbeddingDescription, layer_numbers
from virnucpro.embedding.store import Store, array_in
from virnucpro.embedding.work import Work
from virnucpro.encoders.checkpoint import load_encoder, read_checkpoint
from virnucpro.encoders.devices import DTYPES, count_gpus, lease_device, resolve_precision
from virnucpro.encoders.memory import device_memory, useful_budget
from virnucpro.encoders.memory import token_budget as tokens_that_fit
from virnucpro.encoders.runner import AsyncInferenceRunner
from virnucpro.encoders.weights import find_weights


class Engine(NamedTuple):
    """Checkpoint, description of its embeddings, device (auto, gpu or cpu), and tokens of a bin."""

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
        fits = tokens_that_fit(device_memory(kind)[0], sizes.memory(DTYPES[precision].itemsize))
        token_budget = useful_budget(fits, sizes.embed_dim, kind.type == "cuda")
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
    return Engine(weights.path, description, device, per_residue, token_budget)


def run_engine(
    engine: Engine, work: Work, folder: Path | None = None, on_bins: Callable[[int, int], None] = lambda *_: None
) -> Store:
    """Embed the groups that are missing in a folder, with one process per visible device; return all embeddings.

    Without a folder, embeddings stay in memory and one device is used. `on_bins` is a callback that gets the tokens and
    the number of finished bins.
    """
    store, done = open_store(engine, work, folder)
    missing = np.flatnonzero(~done).tolist()
    devices = 1 if engine.device == "cpu" else torch.cuda.device_count()
    if folder is None or min(devices, len(missing)) < 2:
        if missing:
            with _load(engine) as runner:
                for tokens in _run_groups(runner, work, store, done, missing):
                    on_bins(tokens, 1)
        return store
    processes = min(devices, len(missing))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_process, (engine, work, folder)) as pool:
        futures = {pool.submit(_run_in_process, group): group for group in missing}
        try:
            for future in as_completed(futures):
                on_bins(future.result(), len(work.groups[futures[future]]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return store


def open_store(engine: Engine, work: Work, folder: Path | None = None) -> tuple[Store, Mask]:
    """Return the store of a work, in a folder or in memory, and a mask of the groups that are done."""
    row_shape = engine.description.row_shape
    start = np.concatenate([[0], np.cumsum(work.pieces.pooled[work.piece])])
    means = array_in(folder, "means", np.float32, (len(work.piece), *row_shape))
    residues = array_in(folder, "residues", np.float32, (int(start[-1]), *row_shape)) if engine.per_residue else None
    return Store(means, residues, start), array_in(folder, "done", np.bool_, (len(work.groups),))


@contextmanager
def _load(engine: Engine) -> Iterator[AsyncInferenceRunner]:
    with lease_device(engine.device) as device:
        model = load_encoder(engine.checkpoint, device, DTYPES[engine.description.precision])
        yield AsyncInferenceRunner(model, engine.description.layers, engine.per_residue)


def _run_groups(
    runner: AsyncInferenceRunner, work: Work, store: Store, done: Mask, groups: Sequence[int]
) -> Iterator[int]:
    """Embed groups of bins, and yield the tokens of each bin that is done."""
    last = {id(work.groups[group][-1]): group for group in groups}
    for rows in store.fill(runner, [rows for group in groups for rows in work.groups[group]], work.sequence):
        if id(rows) in last:
            store.flush()
            done[last[id(rows)]] = True
        yield work.tokens(rows)


_arguments: tuple[Engine, Work, Path]  # of a process of the pool


def _start_process(engine: Engine, work: Work, folder: Path) -> None:
    global _arguments
    _arguments = (engine, work, folder)


@cache
def _load_in_process() -> tuple[ExitStack, AsyncInferenceRunner, Work, Store, Mask]:
    """Return the model and the store of a process; the stack holds the device until the process ends."""
    engine, work, folder = _arguments
    stack = ExitStack()
    return stack, stack.enter_context(_load(engine)), work, *open_store(engine, work, folder)


def _run_in_process(group: int) -> int:
    # The model is loaded here: an error of what starts a process would reach nobody.
    return sum(_run_groups(*_load_in_process()[1:], [group]))
