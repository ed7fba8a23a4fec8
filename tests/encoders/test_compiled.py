"""A compiled forward over batches of a few shapes; tests/gpu captures it too."""

import os
import subprocess
import sys

import torch
from torch._dynamo.utils import counters

from virnucpro.data import PackedBatch, VarlenCollator
from virnucpro.data.collation import BatchShape
from virnucpro.encoders.alphabet import ESM2Tokenizer
from virnucpro.encoders.attention import sdpa_attention
from virnucpro.encoders.compiled import StaticForward
from virnucpro.encoders.esm import ESM, ESMConfig

SHAPES = [BatchShape(tokens=64, sequences=10, longest=20), BatchShape(tokens=128, sequences=12, longest=20)]


def batch_of(lengths: range, shapes: list[BatchShape]) -> PackedBatch:
    return VarlenCollator(ESM2Tokenizer(), shapes)([{"id": str(n), "sequence": "MKTAYIAKQRQ"[:n]} for n in lengths])


def random_unpacked_model() -> ESM:
    """Return a small model whose weights are not in oneDNN's layout."""
    torch.manual_seed(0)
    model = ESM(ESMConfig(3, 32, 2), sdpa_attention).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.2)
    model.inv_freq.copy_(10_000 ** -(torch.arange(8) / 8))
    return model


WITHOUT_COMPILER = """
import sys
from tests.encoders.test_compiled import SHAPES, batch_of, random_unpacked_model
from virnucpro.errors import UserError
from virnucpro.encoders.compiled import StaticForward
try:
    StaticForward(random_unpacked_model(), SHAPES)(batch_of(range(1, 5), SHAPES), [3])
except UserError as error:
    sys.exit(str(error))
"""


def test_without_a_compiler() -> None:
    environment = os.environ | {"CXX": "/nonexistent", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    done = subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], capture_output=True, text=True, env=environment)
    assert "torch cannot compile the model on this machine (InvalidCxxCompiler: " in done.stderr
    assert done.stderr.endswith("set compile to false\n")
    assert done.returncode == 1


def test_is_the_forward_and_compiles_once_a_shape() -> None:
    torch._dynamo.reset()
    model = random_unpacked_model()
    batches = [batch_of(lengths, SHAPES) for lengths in (range(1, 5), range(3, 11), range(2, 6), range(2, 11))]
    batches.append(batch_of(range(1, 12), []))
    assert [batch.shape for batch in batches[:4]] == SHAPES * 2
    assert batches[4].shape not in SHAPES
    with torch.inference_mode():
        expected = [model.representations(batch, [1, 3]) for batch in batches]
    forward = StaticForward(model, SHAPES)
    counters.clear()
    found = [forward(batches[0], [1, 3])]
    assert counters["stats"]["unique_graphs"] == 3, "project of the letters and of the tokens, and feed_forward"
    found.append(forward(batches[1], [1, 3]))
    assert counters["stats"]["unique_graphs"] == 5, "project of more tokens, and feed_forward"
    with torch.compiler.set_stance("fail_on_recompile"):
        found += [forward(batch, [1, 3]) for batch in batches[2:]]
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    forward.release()
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(forward(batches[0], [1, 3]), expected[0], rtol=0, atol=1e-5)
