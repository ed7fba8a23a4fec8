"""The cost of DNABERT-S in a run with ESM-2 3B: operations counted at full size, seconds measured at a reduced size.

Usage: PYTHONPATH=. python benchmarks/second_encoder.py

Both models have a quarter of the real width and depth, and random weights. They run packed over the same frames of 500
bp. A frame has 166 residues, and its nucleotides have 109 tokens: the median with DNABERT-S's own tokenizer.
"""

import random
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.common import write_result
from virnucpro.encoders.attention import choose_attention
from virnucpro.encoders.dnabert import DNABERT, DNABERTConfig
from virnucpro.encoders.esm import ESM, ESMConfig
from virnucpro.encoders.linear import Linear
from virnucpro.encoders.runner import AsyncInferenceRunner

FRAMES = 300
RESIDUES, DNA_TOKENS = 166, 109
BUDGET = 4096
ROUNDS = 3
CPU = torch.device("cpu")


class FixedTokens:
    """Stands for DNABERT-S's tokenizer, which does not come with the package: as many tokens a sequence as letters."""

    padding, special_tokens, before, after = 3, 0, 0, 0

    def __call__(self, ids: Sequence[str], sequences: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[int]]:
        """Return the codes of letters."""
        lengths = list(map(len, sequences))
        return np.frombuffer("".join(sequences).encode(), np.uint8).astype(np.int64), lengths


def ready(model: nn.Module) -> nn.Module:
    """Return a model with random weights, laid out for the CPU."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.normal_(0, 0.02)
    for module in model.modules():
        if isinstance(module, Linear):
            module.pack()
    return model.eval().requires_grad_(False)


def bins(length: int, special_tokens: int) -> list[list[dict[str, str]]]:
    """Return full bins of frames of one length."""
    rng = random.Random(0)
    sequences = [{"id": str(n), "sequence": "".join(rng.choices("ACDEFGHIKL", k=length))} for n in range(FRAMES)]
    each = BUDGET // (length + special_tokens)
    return [sequences[begin : begin + each] for begin in range(0, FRAMES, each)]


def operations(layers: int, width: int, weights_of_a_layer: int, tokens: int) -> float:
    """Return the operations of a sequence: two for each weight and token, plus attention."""
    return layers * (2 * weights_of_a_layer * tokens + 4 * width * tokens**2)


def main() -> None:
    """Count, measure, and write the table."""
    torch.manual_seed(0)
    esm2 = ready(ESM(ESMConfig(9, 640, 10), choose_attention(CPU, torch.float32)))
    dnabert = ready(DNABERT(DNABERTConfig(3, 192, 3, 768, 4096)))
    dnabert.tokenizer = FixedTokens()
    work = {"ESM-2": (esm2, bins(RESIDUES, 2)), "DNABERT-S": (dnabert, bins(DNA_TOKENS, 0))}
    seconds = dict.fromkeys(work, float("inf"))
    for _ in range(ROUNDS):
        for name, (model, of_model) in work.items():
            runner = AsyncInferenceRunner(model)  # type: ignore[arg-type]
            started = time.monotonic()
            assert sum(len(found.ids) for found in runner.run(of_model)) == FRAMES  # noqa: S101
            seconds[name] = min(seconds[name], time.monotonic() - started)
    counted = {
        "full size": (
            operations(36, 2560, 12 * 2560**2, RESIDUES + 2),
            operations(12, 768, 768 * (4 * 768 + 3 * 3072), DNA_TOKENS),
        ),
        "a quarter": (
            operations(9, 640, 12 * 640**2, RESIDUES + 2),
            operations(3, 192, 192 * (4 * 192 + 3 * 768), DNA_TOKENS),
        ),
    }
    rows = [
        (f"operations, {size}", f"{first / 1e9:,.1f} G", f"{second / 1e9:,.2f} G", f"{second / first:.1%}")
        for size, (first, second) in counted.items()
    ]
    first, second = seconds["ESM-2"], seconds["DNABERT-S"]
    rows.append((f"seconds of {FRAMES} frames, a quarter", f"{first:.1f}", f"{second:.2f}", f"{second / first:.1%}"))
    write_result("second_encoder", "What DNABERT-S adds to ESM-2 3B", ("", "ESM-2", "DNABERT-S", "share"), rows)


if __name__ == "__main__":
    main()
