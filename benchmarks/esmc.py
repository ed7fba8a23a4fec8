"""ESM C on a CPU: virnucpro beside the package esm and transformers' EsmcModel, with random weights."""

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import embedding
import torch
import transformers
from common import SEED, write_result
from embedding import CPU, KINDS, Run, packed_batches, padded_batches, seconds_a_token, sequences_of
from torch import Tensor

from tests.encoders.esmc import random_state
from virnucpro.data import VarlenCollator
from virnucpro.encoders.alphabet import PAD, ESM2Tokenizer
from virnucpro.encoders.checkpoint import load_encoder
from virnucpro.encoders.esm import ESM, ESMConfig

WIDTH, HEADS = 960, 15  # of 300M
TOKENS = 1024  # timed, at least
MIXED = 8  # sequences of many lengths, on which numbers are compared
PADDED = (1024, 2048)  # tokens of a padded batch; each peer's best counts


@contextmanager
def official(
    python: Path, config: ESMConfig, files: list[Path], padded: list[list[Tensor]], mixed: list[str]
) -> Iterator[Callable]:
    """Yield what makes the package esm embed batches, by their index in padded, or compare its numbers of a mix."""
    command = [python, Path(__file__).with_name("esmc_worker.py"), *files]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:

        def ask(question: object) -> list[float] | float:
            print(json.dumps(question), file=worker.stdin, flush=True)
            return json.loads(worker.stdout.readline())

        lists = [[[row[row != PAD].tolist() for row in batch] for batch in batches] for batches in padded]
        sizes = (config.layers, config.embed_dim, config.heads)
        print(json.dumps([sizes, torch.get_num_threads(), lists, mixed]), file=worker.stdin)
        yield ask


def hugging_face(config: ESMConfig) -> transformers.EsmcModel:
    """Return transformers' model with SDPA and random weights; the speed does not depend on them."""
    sizes = {"hidden_size": config.embed_dim, "intermediate_size": config.feed_forward}
    depth = {"num_hidden_layers": config.layers, "num_attention_heads": config.heads}
    return transformers.EsmcModel(transformers.EsmcConfig(**sizes, **depth, attn_implementation="sdpa")).eval()


def embed_packed(model: ESM, sequences: list[str]) -> Tensor:
    """Return our last layer of every token of some sequences, as one packed batch, [tokens, embed_dim]."""
    batch = VarlenCollator(ESM2Tokenizer())([{"id": str(n), "sequence": text} for n, text in enumerate(sequences)])
    return model(batch)[: len(batch.input_ids) - batch.padding]


@torch.inference_mode()
def measure(python: Path, layers: int, repeats: int, kind: str) -> tuple[dict[str, float], list[float]]:
    """Return tokens/s of each program at its best token size, and the differences that esmc_worker.py describes."""
    sequences = sequences_of(kind, embedding.SAMPLE * TOKENS)
    padded = [padded_batches(sequences, size, CPU) for size in PADDED]
    packed = packed_batches(sequences)
    counts = [sum(int((batch != PAD).sum()) for batch in batches) for batches in padded]
    total = sum(len(batch.input_ids) - batch.padding for batch in packed)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, ours = Path(folder, "esmc.pth"), Path(folder, "ours.pt")
        torch.save(random_state(layers, WIDTH, SEED), checkpoint)
        model = load_encoder(checkpoint, CPU, torch.float32)
        mixed = sequences[:: len(sequences) // MIXED + 1]
        torch.save(embed_packed(model, mixed), ours)
        face = hugging_face(model.config)

        def run_face(batches: list[Tensor]) -> None:
            for batch in batches:
                mask = batch != PAD
                face(input_ids=batch, attention_mask=None if mask.all() else mask)

        with official(python, model.config, [checkpoint, ours], padded, mixed) as ask:
            every: dict[str, list[Run]] = {
                "esm": [(lambda i=i: ask(i), n) for i, n in enumerate(counts)],
                "transformers": [(lambda b=b: run_face(b), n) for b, n in zip(padded, counts, strict=True)],
                "virnucpro": [(lambda: [model(batch) for batch in packed], total)],
            }
            differences = ask("differences")  # loads the model before anything is timed
            best = {name: min(runs, key=seconds_a_token) for name, runs in every.items()}
            times: dict[str, list[float]] = {name: [] for name in best}
            for _ in range(repeats):
                for name, run in best.items():
                    times[name].append(seconds_a_token(run))
    return {name: 1 / statistics.median(taken) for name, taken in times.items()}, differences


def main() -> None:
    """Write results/esmc.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", type=Path, help="Python of an environment with the package esm")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for kind in KINDS:
        speeds, (batched, packed) = measure(arguments.python, arguments.layers, arguments.repeats, kind)
        peer = max(speeds["esm"], speeds["transformers"])
        differences = {"esm": f"{batched:.0e}", "virnucpro": f"{packed:.0e}"}
        for name, speed in speeds.items():
            rows.append((kind, name, f"{speed:,.0f}", f"{speed / peer:.2f}", differences.get(name, "")))
        print(rows[-3:], flush=True)
    note = (
        f"Width of 300M, {arguments.layers} layers, FP32. Weights are random, lengths are real. Peers ran over batches "
        f"sorted by length, each at the best of {', '.join(map(str, PADDED))} padded tokens; {arguments.repeats} timed "
        f"runs, interleaved. The difference is the largest in the last layer of {MIXED} sequences of many lengths, in "
        f"one batch, from the package esm with one sequence at a time. torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, transformers {transformers.__version__}, esm 3.2.1.post1."
    )
    header = ("sequences", "what", "tokens/s", "to the best peer", "difference")
    write_result("esmc", "ESM C: tokens/s", header, rows, note)


if __name__ == "__main__":
    main()
