"""What a model's forward takes on its device: memory and time of trial bins."""

import ctypes
import re
import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from virnucpro.data.budget import CPU_TOKEN_BUDGET, STEP, ModelMemory
from virnucpro.data.collation import PackedBatch, VarlenCollator
from virnucpro.encoders.esm2 import ESM2

TRIAL_TOKENS = (STEP, CPU_TOKEN_BUDGET)  # of the bins that memory is measured with
FEWEST_TOKENS = 4 * STEP  # of a budget that is tried
TRIALS = 3  # of a bin that is timed; the best counts
WORTH = 1.1  # a bin of twice the tokens must be so much faster; the timing of one kind of machine varies by less


def measure_memory(model: ESM2) -> ModelMemory:
    """Return what a model and its process take on its device, and what each token of a bin adds to the peak.

    A line through the peaks of trial bins of two sizes. On a CPU it is the peak of the process, on CUDA that of torch.
    """
    _peak_bytes(model, _trial_bins(model, TRIAL_TOKENS[0]))  # loads the kernels
    few, many = (_peak_bytes(model, _trial_bins(model, tokens)) for tokens in TRIAL_TOKENS)
    activation_bytes = max(-(-(many - few) // (TRIAL_TOKENS[1] - TRIAL_TOKENS[0])), 1)
    return ModelMemory(many - activation_bytes * TRIAL_TOKENS[1], activation_bytes)


def useful_tokens(model: ESM2, fits: int) -> int:
    """Return how many of the tokens that fit are of use: doubled as long as the model gets faster by it."""
    layers, model.layers = model.layers, model.layers[:1]  # all have the same shapes
    tokens = min(FEWEST_TOKENS, fits)
    seconds = _seconds_a_token(model, tokens)
    while tokens < fits:
        more = min(2 * tokens, fits)
        if seconds < WORTH * (seconds := _seconds_a_token(model, more)):
            break
        tokens = more
    model.layers = layers
    return tokens


def _trial_bins(model: ESM2, tokens: int) -> list[PackedBatch]:
    """Return three bins of unlike lengths: on a CPU what the heap keeps grows with the first few of a run."""
    return [_trial_bin(model, tokens, length) for length in (512, 320, 128)]


def _trial_bin(model: ESM2, tokens: int, length: int = 128) -> PackedBatch:
    """Return a full bin of sequences of one length, but for the last: one less full would leave holes in the heap."""
    lengths = [min(length, tokens - begin) for begin in range(0, tokens, length)]
    sequences = [{"id": str(number), "sequence": "A" * (own - 2)} for number, own in enumerate(lengths)]
    return VarlenCollator()(sequences).to(model.inv_freq.device)


@torch.inference_mode()
def _seconds_a_token(model: ESM2, tokens: int) -> float:
    batch = _trial_bin(model, tokens)
    taken = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        model.representations(batch, [])
        if batch.input_ids.is_cuda:
            torch.cuda.synchronize(batch.input_ids.device)
        taken.append(time.perf_counter() - start)
    return min(taken) / tokens


@torch.inference_mode()
def _peak_bytes(model: ESM2, batches: Sequence[PackedBatch]) -> int:
    """Return the most memory that is in use while the model runs over some bins."""
    device = model.inv_freq.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        for batch in batches:
            model(batch)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what earlier bins left in glibc's heap is no need of these
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    for batch in batches:
        model(batch)
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024
