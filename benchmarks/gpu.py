"""Tests and benchmarks for a machine with a GPU, in ten minutes: tests/gpu, and tokens/s compared with peers.

Weights are random, so nothing is downloaded. Without a GPU a tiny model runs on the CPU, to test the script itself.
"""

import gc
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import esm
import torch
import transformers
from common import SEED, markdown, write_result
from embedding import PAD, Size, hugging_face, padded_batches, sequences_of
from torch import Tensor

from virnucpro.data import GreedyPacker, VarlenCollator
from virnucpro.data.collation import batch_shapes
from virnucpro.encoders import attention
from virnucpro.encoders.alphabet import ESM2Tokenizer
from virnucpro.encoders.checkpoint import load_encoder
from virnucpro.encoders.compiled import StaticForward
from virnucpro.encoders.memory import estimate_memory, token_budget, useful_budget
from virnucpro.encoders.runner import AsyncInferenceRunner

ROOT = Path(__file__).parent.parent
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
HALF = torch.bfloat16
# A budget holds what the model is fast with, so that a few bins are enough; repeats until SECONDS have passed.
SIZES = {"8M": Size(6, 320), "650M": Size(33, 1280), "3B": Size(36, 2560, heads=40)} if CUDA else {"toy": Size(2, 80)}
MEMORY = "/dev/shm" if CUDA else None  # noqa: S108 (12 GB of weights, not to be written to a disk)
KINDS = ("frame", "protein")
SWEPT = ("size", "tokens a bin", "tokens/s")
BINS = 3
BACKENDS = {
    "padded_attention": "padded groups",
    "varlen_attention": "torch's varlen attention",
    "flash_attention": "flash-attn",
    "flash_attention_4": "flash-attn-4",
}
PACKAGES = {"flash_attention": "flash_attn.flash_attn_interface", "flash_attention_4": "flash_attn.cute"}
PEER_TOKENS = (16384, 32768, 65536) if CUDA else (1024,)
SECONDS = 1.0
MISSING: set[str] = set()  # modules that are not installed, and peers that failed
LEAST_REPEATS, MOST_REPEATS = 3, 20


class Contender(NamedTuple):
    """A timed run and its number of tokens, without padding."""

    name: str
    run: Callable[[], object]
    tokens: int


def wait() -> None:
    """Wait until the device has done all that it was told."""
    if CUDA:
        torch.cuda.synchronize()


def tokens_a_second(contender: Contender) -> float:
    """Return the median of repeats, after one that warms up."""
    contender.run()
    wait()
    taken: list[float] = []
    while len(taken) < LEAST_REPEATS or (sum(taken) < SECONDS and len(taken) < MOST_REPEATS):
        start = time.perf_counter()
        contender.run()
        wait()
        taken.append(time.perf_counter() - start)
    return contender.tokens / statistics.median(taken)


def product_rate(dtype: torch.dtype, size: int = 8192 if CUDA else 512) -> float:
    """Return the operations/s of one large matrix product, an upper limit for a model."""
    a, b = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
    return tokens_a_second(Contender("product", lambda: [a @ b for _ in range(10)], 10 * 2 * size**3))


def operations_a_token(size: Size, lengths: list[int]) -> float:
    """Return the operations of the matrix products of a forward for each token of packed sequences."""
    weights = 12 * size.embed_dim**2
    attended = sum(length**2 for length in lengths) / sum(lengths)  # keys that a token attends to, on average
    return size.layers * (2 * weights + 4 * attended * size.embed_dim)


def fair_esm(size: Size, sequences: list[str]) -> Iterator[Contender]:
    """Yield fair-esm over sorted, padded batches of several sizes."""
    with DEVICE:
        model = esm.ESM2(size.layers, size.embed_dim, size.heads).eval().to(torch.float16 if CUDA else torch.float32)
    for budget in PEER_TOKENS:
        batches = padded_batches(sequences, budget, DEVICE)

        def run(batches: list[Tensor] = batches) -> None:
            for tokens in batches:
                model(tokens, repr_layers=[size.layers])

        yield Contender("fair-esm FP16", run, tokens_of(batches))


def padded_runs(name: str, model: Callable[..., object], sequences: list[str]) -> Iterator[Contender]:
    """Yield a model with the arguments of transformers over sorted, padded batches of several sizes."""
    for budget in PEER_TOKENS:
        batches = padded_batches(sequences, budget, DEVICE)

        def run(batches: list[Tensor] = batches) -> None:
            for tokens in batches:
                mask = tokens != PAD
                model(input_ids=tokens, attention_mask=None if mask.all() else mask)

        yield Contender(name, run, tokens_of(batches))


def hugging_face_esm(size: Size, sequences: list[str]) -> Iterator[Contender]:
    """Yield transformers' EsmModel, compiled and not."""
    with DEVICE:
        model = hugging_face(size, DEVICE, torch.float16 if CUDA else torch.float32)
    yield from padded_runs("transformers FP16", model, sequences)
    yield from padded_runs("transformers FP16, compiled", torch.compile(model, dynamic=True), sequences)


def fast_plms(size: Size, sequences: list[str]) -> Iterator[Contender]:
    """Yield FastPLMs' ESM-2, padded, by its attention of a block mask (flex) and by SDPA."""
    if missing("fastplms"):
        return
    from fastplms.models.esm2.modeling_fastesm import FastEsmConfig, FastEsmModel

    with torch.device("meta"):
        settings = hugging_face(size, torch.device("meta"), HALF).config.to_dict()
    for backend in ("flex_attention", "sdpa"):
        config = FastEsmConfig(**{**settings, "attn_backend": backend})
        with DEVICE:
            model = FastEsmModel(config, add_pooling_layer=False).eval().to(HALF)
        yield from padded_runs(f"FastPLMs BF16, {backend}", model, sequences)


def esm_efficient(size: Size, sequences: list[str]) -> Iterator[Contender]:
    """Yield esm-efficient's ESM-2 over packed bins, as virnucpro gets them."""
    if missing("esme") or missing(PACKAGES["flash_attention"]):
        return
    from esme import ESM2

    with DEVICE:
        model = ESM2(size.layers, size.embed_dim, size.heads, dtype=HALF).eval()
    bins = packed(sequences, budget_of(size))[:BINS]
    batches = [VarlenCollator(ESM2Tokenizer())(a_bin).to(DEVICE) for a_bin in bins]

    def run() -> None:
        for batch in batches:
            model.forward_representation(batch.input_ids, (batch.cu_seqlens, batch.max_seqlen))

    yield Contender("esm-efficient BF16", run, sum(len(batch.input_ids) - batch.padding for batch in batches))


def missing(module: str) -> bool:
    """Return whether a module cannot be imported, and name it in the result."""
    try:
        importlib.import_module(module)
    except ImportError:
        MISSING.add(module)
    return module in MISSING


def tokens_of(batches: list[Tensor]) -> int:
    """Return the tokens that are not padding."""
    return sum(int((batch != PAD).sum()) for batch in batches)


def virnucpro(size: Size, sequences: list[str], checkpoint: Path) -> Iterator[Contender]:
    """Yield this package's forward by each backend, compiled, and the whole engine from strings to numpy."""
    bins = packed(sequences, budget_of(size))[:BINS]
    lengths = [[len(entry["sequence"]) + 2 for entry in a_bin] for a_bin in bins]
    tokens = sum(map(sum, lengths))
    first, *_ = batches = [VarlenCollator(ESM2Tokenizer())(a_bin).to(DEVICE) for a_bin in bins]
    exact = load_encoder(checkpoint, DEVICE, torch.float32)
    yield Contender("virnucpro FP32, padded groups", lambda: exact(first), sum(lengths[0]))  # slow: one bin is enough
    if not CUDA:
        return
    model = load_encoder(checkpoint, DEVICE, HALF)
    for backend, name in BACKENDS.items():
        if backend not in PACKAGES or not missing(PACKAGES[backend]):
            model.attention = getattr(attention, backend)
            yield Contender(f"virnucpro BF16, {name}", lambda: [model(batch) for batch in batches], tokens)
    model.attention = attention.choose_attention(DEVICE, HALF)
    model.residual_dtype = HALF
    yield Contender("virnucpro BF16, residual stream too", lambda: [model(batch) for batch in batches], tokens)
    model.residual_dtype = torch.float32
    engine = AsyncInferenceRunner(model)
    yield Contender("virnucpro BF16, whole engine", lambda: list(engine.run(bins * 2)), 2 * tokens)
    shapes = batch_shapes(lengths, budget_of(size))
    filled_up = [VarlenCollator(ESM2Tokenizer(), shapes)(a_bin).to(DEVICE) for a_bin in bins]
    forward = StaticForward(model, shapes)
    name = "virnucpro BF16, compiled, CUDA graph"
    yield Contender(name, lambda: [forward(batch, [size.layers]) for batch in filled_up], tokens)
    compiled = AsyncInferenceRunner(load_encoder(checkpoint, DEVICE, HALF), shapes=shapes)
    yield Contender("virnucpro BF16, compiled, whole engine", lambda: list(compiled.run(bins * 2)), 2 * tokens)


def packed(sequences: list[str], budget: int) -> list[list[dict[str, str]]]:
    """Return full bins of the sequences."""
    entries = [{"id": str(number), "sequence": sequence} for number, sequence in enumerate(sequences)]
    return GreedyPacker(budget).pack_sequences(entries)[:-1]  # the last may be half empty


@torch.inference_mode()
def budgets(size: Size, sequences: list[str], checkpoint: Path) -> Iterator[tuple[int, float]]:
    """Yield token budgets about that of a run, and the tokens/s of a bin of each."""
    model = load_encoder(checkpoint, DEVICE, HALF)
    for shift in (-2, -1, 0, 1, 2):
        budget = budget_of(size) << shift if shift >= 0 else budget_of(size) >> -shift
        batch = VarlenCollator(ESM2Tokenizer())(packed(sequences, budget)[0]).to(DEVICE)
        yield budget, tokens_a_second(Contender("", lambda b=batch: model(b), sum(batch.lengths[: len(batch.ids)])))


def budget_of(size: Size) -> int:
    """Return the token budget that a run would have here, half precision assumed."""
    memory = estimate_memory(size.layers, size.embed_dim, 2)
    total = torch.cuda.get_device_properties(0).total_memory if CUDA else 8 << 30
    return useful_budget(token_budget(total, memory), size.embed_dim, memory.model_bytes // 2, on_gpu=CUDA)


@torch.inference_mode()
def measure(size: Size, sequences: list[str], checkpoint: Path) -> dict[str, float]:
    """Return the tokens/s of every contender; of peers that of their best batch size."""
    found: dict[str, float] = {}
    for peer in (fair_esm, hugging_face_esm, fast_plms, esm_efficient):
        try:
            for contender in peer(size, sequences):
                speed = tokens_a_second(contender)
                found[contender.name] = max(found.get(contender.name, 0), speed)
        except Exception as error:  # another version of a peer ends its own race alone
            MISSING.add(f"{peer.__name__} ({type(error).__name__})")
            traceback.print_exc()
        gc.collect()
    for contender in virnucpro(size, sequences, checkpoint):
        found[contender.name] = tokens_a_second(contender)
    return found


def rows_of(size_name: str, rate: float) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return the rows of a model, and the rows of its budgets."""
    size = SIZES[size_name]
    rows, swept = [], []
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        checkpoint = Path(folder) / "random.pt"
        torch.manual_seed(SEED)
        with DEVICE:
            torch.save(esm.ESM2(size.layers, size.embed_dim, size.heads).half().state_dict(), checkpoint)
        for kind in KINDS:
            sequences = sequences_of(kind, 24 * max(PEER_TOKENS))
            speeds = measure(size, sequences, checkpoint)
            operations = operations_a_token(size, [len(sequence) + 2 for sequence in sequences])
            peer = max(speed for contender, speed in speeds.items() if not contender.startswith("virnucpro"))
            for contender, speed in speeds.items():
                share = f"{100 * speed * operations / rate:.0f} %"
                rows.append((size_name, kind, contender, f"{speed:,.0f}", f"{speed / peer:.2f}", share))
                print(*rows[-1], flush=True)
            gc.collect()
        if CUDA:
            swept = [
                (size_name, f"{budget:,}", f"{speed:,.0f}") for budget, speed in budgets(size, sequences, checkpoint)
            ]
    return rows, swept


def main() -> None:
    """Run tests/gpu and write results/gpu_CARD.md."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "tests/gpu"]
    tests = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(tests.stdout, tests.stderr, sep="\n", flush=True)
    name = torch.cuda.get_device_name() if CUDA else "CPU"
    rate = product_rate(HALF if CUDA else torch.float32)
    rows, swept = (list(chain(*parts)) for parts in zip(*(rows_of(size, rate) for size in SIZES), strict=True))
    summary = tests.stdout.strip().splitlines()[-1].strip("= ")
    note = (
        f"tests/gpu: {summary}. Weights are random, lengths are real. Peers ran over batches sorted by length, each at "
        f"the best of {', '.join(map(str, PEER_TOKENS))} padded tokens; bins have the token budget of a run. The last "
        f"column compares the operations of the model's products with those of one BF16 product of 8,192 x 8,192 "
        f"numbers, {rate / 1e12:.0f} TFLOP/s. torch {torch.__version__}, transformers {transformers.__version__}, "
        f"fair-esm 2.0.0, {time.perf_counter() - start:.0f} s in all. Missing or failed: "
        f"{', '.join(sorted(MISSING)) or 'nothing'}.\n\n"
        f"Tokens/s of proteins by the tokens of a bin, not compiled:\n\n{markdown(SWEPT, swept)}"
    )
    header = ("size", "sequences", "what", "tokens/s", "to the best peer", "of the card's products")
    file = f"gpu_{name.replace(' ', '_')}"
    write_result(file, f"Embedding on a GPU, {name}: tokens/s, medians of repeats", header, rows, note)
    if tests.returncode:
        sys.exit("tests/gpu failed")


if __name__ == "__main__":
    main()
