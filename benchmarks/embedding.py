"""Embedding on a CPU: virnucpro beside fair-esm, Hugging Face's EsmModel, esm-cpp, and bare matrix products alone."""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import esm
import matplotlib.pyplot as plt
import numpy as np
import torch
import transformers
from common import RESULTS, SEED, draw_tokens, write_result
from esm_cpp import ESM_CPP_CALLS, esm_cpp
from torch import Tensor

from virnucpro.data import GreedyPacker, VarlenCollator
from virnucpro.data.collation import PackedBatch
from virnucpro.encoders.alphabet import BOS, EOS, PAD, ESM2Tokenizer
from virnucpro.encoders.checkpoint import load_encoder
from virnucpro.encoders.esm import ESM
from virnucpro.encoders.memory import CPU_TOKEN_BUDGET


class Size(NamedTuple):
    """An ESM-2, and how many tokens and repeats make its timing a matter of minutes."""

    layers: int
    embed_dim: int
    tokens: int = 0
    repeats: int = 0
    heads: int = 20


SIZES = {"8M": Size(6, 320, 8192, 5), "35M": Size(12, 480, 8192, 3), "150M": Size(30, 640, 4096, 3)}
KINDS = ("frame", "protein")
PEERS = ("fair-esm", "transformers", "esm-cpp FP32")  # virnucpro is compared with the best of these
PEER_TOKENS = (1024, 2048, 4096)  # tokens of a padded batch; each peer's best counts
CPU = torch.device("cpu")

SAMPLE = 20  # batches are made from 20 times the timed tokens, as in a real sample

Run = tuple[Callable[[], object], int]  # and the tokens it works on


def sequences_of(kind: str, tokens: int) -> list[str]:
    """Return random proteins of real lengths, longest first: what they say does not change the speed."""
    lengths = draw_tokens(kind, tokens // 40, np.random.default_rng(SEED)) - 2
    lengths = sorted(lengths[: np.searchsorted((lengths + 2).cumsum(), tokens) + 1].tolist(), reverse=True)
    residues = np.random.default_rng(SEED).choice(list("ACDEFGHIKLMNPQRSTVWY"), (len(lengths), max(lengths)))
    return ["".join(row[:length]) for row, length in zip(residues, lengths, strict=True)]


def packed_batches(sequences: list[str]) -> list[PackedBatch]:
    """Return the sequences as virnucpro packs them."""
    entries = [{"id": str(number), "sequence": sequence} for number, sequence in enumerate(sequences)]
    return [
        VarlenCollator(ESM2Tokenizer())(a_bin)
        for a_bin in spread(GreedyPacker(CPU_TOKEN_BUDGET).pack_sequences(entries))
    ]


def spread(batches: list[Any]) -> list[Any]:
    """Return one of SAMPLE batches, evenly spaced: of a large sorted sample, where no peer pads much."""
    return batches[min(SAMPLE // 2, len(batches) // 2) :: SAMPLE]


def padded_batches(sequences: list[str], tokens: int, device: torch.device) -> list[Tensor]:
    """Return batches of sequences of similar length that fit the tokens with padding: [sequences, longest]."""
    batches: list[list[str]] = [[]]
    for sequence in sequences:
        if batches[-1] and (len(batches[-1]) + 1) * (len(batches[-1][0]) + 2) > tokens:
            batches.append([])
        batches[-1].append(sequence)
    letters = esm.Alphabet.from_architecture("ESM-1b").tok_to_idx
    rows = [[torch.tensor([BOS, *(letters[c] for c in s), EOS]) for s in batch] for batch in spread(batches)]
    return [torch.nn.utils.rnn.pad_sequence(row, batch_first=True, padding_value=PAD).to(device) for row in rows]


def hugging_face(size: Size, device: torch.device, dtype: torch.dtype) -> transformers.EsmModel:
    """Return transformers' model with SDPA and random weights."""
    config = transformers.EsmConfig(
        vocab_size=33,
        hidden_size=size.embed_dim,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.embed_dim,
        position_embedding_type="rotary",
        token_dropout=True,
        pad_token_id=PAD,
        mask_token_id=32,
        max_position_embeddings=1026,
        attn_implementation="sdpa",
    )
    return transformers.EsmModel(config, add_pooling_layer=False).eval().to(device, dtype)


def bare_products(model: ESM, batches: list[PackedBatch]) -> None:
    """Run only the matrix products of a forward pass; attention is one sequence at a time, within the cache."""
    weight = model.layers[0].fc1.weight
    dim, heads = model.config.embed_dim, model.config.heads
    longest = max(batch.max_seqlen for batch in batches)
    scores = torch.empty(heads * longest * longest)
    for batch in batches:
        x = torch.zeros(len(batch.input_ids), dim, dtype=weight.dtype)
        wide = torch.zeros(len(batch.input_ids), 4 * dim, dtype=weight.dtype)
        heads_of = x.float().view(len(x), heads, -1).transpose(0, 1).contiguous()
        for layer in model.layers:
            for product, operand in ((layer.qkv, x), (layer.out, x), (layer.fc1, x), (layer.fc2, wide)):
                product(operand)
            for begin, end in itertools.pairwise([0, *itertools.accumulate(batch.lengths)]):
                own, length = heads_of[:, begin:end], end - begin
                square = scores[: heads * length**2].view(heads, length, length)
                torch.bmm(own, own.transpose(1, 2), out=square)
                torch.bmm(square, own)


def contenders(size: Size, sequences: list[str], checkpoint: Path, stack: ExitStack) -> dict[str, list[Run]]:
    """Return what is timed and its tokens, by name; of a peer, a run for every token size it may be best at."""
    padded = [padded_batches(sequences, tokens, CPU) for tokens in PEER_TOKENS]
    packed = packed_batches(sequences)
    fair = esm.ESM2(size.layers, size.embed_dim, size.heads).eval()
    face = hugging_face(size, CPU, torch.float32)

    def run_fair(batches: list[Tensor]) -> None:
        for tokens in batches:
            fair(tokens, repr_layers=[size.layers])

    def run_face(batches: list[Tensor]) -> None:
        for tokens in batches:
            mask = tokens != PAD
            face(input_ids=tokens, attention_mask=None if mask.all() else mask)

    residues = [sum(int((tokens != PAD).sum()) for tokens in batches) for batches in padded]
    runs: dict[str, list[Run]] = {
        "fair-esm FP32": [(lambda b=b: run_fair(b), n) for b, n in zip(padded, residues, strict=True)],
        "transformers FP32": [(lambda b=b: run_face(b), n) for b, n in zip(padded, residues, strict=True)],
    }
    ask = stack.enter_context(esm_cpp(checkpoint, padded))
    for precision in ("FP32", "INT8"):
        runs[f"esm-cpp {precision}"] = [
            (lambda p=precision, c=call, i=i: ask(p, c, i), n)
            for call, (i, n) in itertools.product(ESM_CPP_CALLS, enumerate(residues))
        ]
    total = sum(len(batch.input_ids) - batch.padding for batch in packed)
    for dtype, name in ((torch.float32, "FP32"), (torch.bfloat16, "BF16")):
        model = load_encoder(checkpoint, CPU, dtype)
        runs[f"virnucpro {name}"] = [(lambda m=model: [m(batch) for batch in packed], total)]
        runs[f"bare products {name}"] = [(lambda m=model: bare_products(m, packed), total)]
    return runs


def seconds_a_token(run: Run) -> float:
    """Return how long a run takes for each of its tokens."""
    start = time.perf_counter()
    run[0]()
    return (time.perf_counter() - start) / run[1]


@torch.inference_mode()
def measure(size: Size, sequences: list[str]) -> dict[str, float]:
    """Return tokens/s of every contender at its best token size: medians of interleaved repeats."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        checkpoint = Path(folder) / "random.pt"
        torch.manual_seed(SEED)
        torch.save(esm.ESM2(size.layers, size.embed_dim, size.heads).state_dict(), checkpoint)
        every = contenders(size, sequences, checkpoint, stack)
        for runs in every.values():
            seconds_a_token(runs[0])
        best = {name: min(runs, key=lambda run: seconds_a_token(run)) for name, runs in every.items()}
        times: dict[str, list[float]] = {name: [] for name in best}
        for _ in range(size.repeats):
            for name, run in best.items():
                times[name].append(seconds_a_token(run))
    return {name: 1 / statistics.median(taken) for name, taken in times.items()}


def draw(results: dict[tuple[str, str], dict[str, float]], path: Path) -> None:
    """Draw tokens/s as bars, a panel for each size and kind."""
    figure, axes = plt.subplots(len(KINDS), len(results) // len(KINDS), figsize=(13, 6), squeeze=False)
    for (size, kind), axis in zip(sorted(results, key=lambda key: KINDS.index(key[1])), axes.flat, strict=True):
        speeds = results[size, kind]
        colours = ["C2" if "virnucpro" in name else "0.85" if "bare" in name else "C7" for name in speeds]
        bars = axis.barh(list(speeds), list(speeds.values()), color=colours)
        axis.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8)
        axis.set(title=f"{size}, {kind}s", xlim=(0, 1.2 * max(speeds.values())))
        axis.tick_params(labelsize=8)
        axis.invert_yaxis()
    figure.supxlabel("tokens/s")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Write results/embedding.md and .png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    results = {}
    for name, kind in itertools.product(parser.parse_args().sizes, KINDS):
        results[name, kind] = measure(SIZES[name], sequences_of(kind, SAMPLE * SIZES[name].tokens))
        print(name, kind, {contender: round(speed) for contender, speed in results[name, kind].items()}, flush=True)
    rows = []
    for (name, kind), speeds in results.items():
        peer = max(speed for contender, speed in speeds.items() if contender.startswith(PEERS))
        for contender, speed in speeds.items():
            bare = speeds[f"bare products {contender.split()[1]}"] if contender.startswith("virnucpro") else None
            share = f"{100 * speed / bare:.0f} %" if bare else ""
            rows.append((name, kind, contender, f"{speed:,.0f}", f"{speed / peer:.2f}", share))
    note = (
        "Weights are random, lengths are real. Peers ran over batches sorted by length, each at the best of "
        f"{', '.join(map(str, PEER_TOKENS))} padded tokens. torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, transformers {transformers.__version__}, fair-esm 2.0.0, esm-cpp 0.2.1."
    )
    header = ("size", "sequences", "what", "tokens/s", "to the best peer", "of the bare products")
    write_result("embedding", "Embedding: tokens/s, medians of interleaved repeats", header, rows, note)
    draw(results, RESULTS / "embedding.png")


if __name__ == "__main__":
    main()
