"""From a FASTA file of proteins to a file of their embeddings."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from virnucpro.embedding.engine import choose_engine, open_store, run_engine_on_all_devices
from virnucpro.embedding.outputs import check_output, write_output
from virnucpro.embedding.proteins import plan, read_sequences
from virnucpro.embedding.store import kept_beside

logger = logging.getLogger(__name__)

QUIET_SECONDS = 60  # between lines where there is no terminal


def embed_file(
    fasta: Path,
    output: Path,
    model: str,
    layers: Sequence[int],
    per_residue: bool,
    layout: str,
    device: str,
    precision: str,
    token_budget: int | None,
    max_sequence_length: int,
    long_proteins: str,
) -> None:
    """Write the embeddings of the proteins of a file, on all GPUs or else the CPU; go on where that was stopped.

    Args:
        fasta: proteins, plain or compressed.
        output: the file to write; its ending, .h5, .npz or .parquet, says the format.
        model: name of an ESM-2 or path of a checkpoint.
        layers: numbers of the layers wanted; negative ones count from the end.
        per_residue: whether to write every residue's embedding beside the mean.
        layout: of an HDF5 file, `table` or `proteins`.
        device: auto, gpu or cpu.
        precision: auto, float32, bfloat16 or float16.
        token_budget: tokens of a bin, or None for what suits the device.
        max_sequence_length: residues that the model takes at once.
        long_proteins: what becomes of longer ones, `cut` or `windows`.

    Raises:
        UserError: the file or the model cannot be read, or the output cannot hold what is asked for.
    """
    check_output(output, per_residue, layout)
    ids, sequences = read_sequences(fasta)
    engine = choose_engine(
        model, layers, per_residue, device, precision, token_budget, max_sequence_length, long_proteins
    )
    work = plan(engine, ids, sequences)
    with kept_beside(output, f"{engine.description.digest} {per_residue} {work.digest}") as folder:
        store = open_store(engine, work, folder)
        tokens = work.tokens_of_groups
        done = sum(count for count, is_done in zip(tokens, store.done, strict=True) if is_done)
        with _shown(sum(tokens), done) as on_tokens:
            run_engine_on_all_devices(engine, work, folder, on_tokens)
        write_output(output, layout, engine.description, work, store)
    logger.info("%s: the embeddings of %d proteins", output, len(ids))


@contextmanager
def _shown(total: int, done: int) -> Iterator[Callable[[int], None]]:
    """Yield what takes the tokens of each bin that is done, and shows how far it is: a bar, or a line a minute."""
    columns = (
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,} tokens, {task.fields[rate]:,.0f} tokens/s"),
    )
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    started = said = time.monotonic()
    embedded = 0
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not is_terminal) as progress:
        bar = progress.add_task("", total=total, completed=done, rate=0.0)

        def on_tokens(tokens: int) -> None:
            nonlocal embedded, said
            embedded += tokens
            now = time.monotonic()
            rate = embedded / (now - started)
            progress.update(bar, advance=tokens, rate=rate)
            if not is_terminal and now - said >= QUIET_SECONDS:
                said = now
                logger.info("%d of %d tokens, %.0f tokens/s", done + embedded, total, rate)

        yield on_tokens
