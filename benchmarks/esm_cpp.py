"""esm-cpp as a peer: weights with its names, and a separate process that times its forward pass."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from virnucpro.encoders.alphabet import PAD

ESM_CPP = Path(__file__).parents[1] / ".venv-esm-cpp/bin/python"
ESM_CPP_CALLS = ("forward_scheduled", "forward_batch")  # a batch packed into one forward; a forward for each sequence
# Parts of fair-esm's names of tensors, and what esm-cpp calls them: as transformers 4 did.
ESM_CPP_NAMES = {
    "embed_tokens": "esm.embeddings.word_embeddings",
    "emb_layer_norm_after": "esm.encoder.emb_layer_norm_after",
    "layers": "esm.encoder.layer",
    "self_attn_layer_norm": "attention.LayerNorm",
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn.rot_emb": "attention.self.rotary_embeddings",
    "final_layer_norm": "LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}


def esm_cpp_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return fair-esm's tensors under the names that esm-cpp reads."""
    renamed = {}
    for name, tensor in state.items():
        for part, theirs in ESM_CPP_NAMES.items():
            name = name.replace(part, theirs)
        renamed[name] = tensor
    del renamed["lm_head.weight"]  # the embedding once more, which safetensors refuses
    return renamed


@contextmanager
def esm_cpp(checkpoint: Path, padded: list[list[Tensor]]) -> Iterator[Callable[..., float]]:
    """Yield what makes esm-cpp embed some of the batches, without their padding: precision, call, index in padded."""
    weights = checkpoint.with_suffix(".safetensors")
    save_file(esm_cpp_weights(torch.load(checkpoint, weights_only=True)), weights)
    command = [ESM_CPP, Path(__file__).with_name("esm_cpp_worker.py"), weights]
    env = os.environ | {"ESM_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as worker:

        def ask(*question: object) -> float:
            print(json.dumps(question), file=worker.stdin, flush=True)
            return float(worker.stdout.readline())

        lists = [[[row[row != PAD].tolist() for row in batch] for batch in batches] for batches in padded]
        print(json.dumps(lists), file=worker.stdin)
        yield ask
