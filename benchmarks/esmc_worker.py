"""ESM C by the package esm in a separate environment, as a child of esmc.py: fair-esm has the same name."""

import json
import sys
import time

import torch
from esm.models.esmc import ESMC
from esm.tokenization import get_esmc_model_tokenizers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

PAD = 1


@torch.inference_mode()
def main() -> None:
    """Read sizes, threads and lists of batches, then the number of a list in each line; answer with the seconds.

    "differences" is answered with two numbers on the last layer of some proteins. They are the largest differences of
    proteins alone from the batch of them, and from the numbers in a file.
    """
    (layers, embed_dim, heads), threads, lists, mixed = json.loads(input())
    torch.set_num_threads(threads)
    model = ESMC(embed_dim, heads, layers, get_esmc_model_tokenizers(), use_flash_attn=False).eval()
    model.load_state_dict(torch.load(sys.argv[1], weights_only=True), strict=False)
    padded = [[pad_sequence([*map(torch.tensor, batch)], True, PAD) for batch in batches] for batches in lists]
    for line in sys.stdin:
        question = json.loads(line)
        if question == "differences":
            print(differences(model, model._tokenize(mixed), torch.load(sys.argv[2], weights_only=True)), flush=True)
            continue
        start = time.perf_counter()
        for tokens in padded[question]:
            model(tokens)
        print(time.perf_counter() - start, flush=True)


def differences(model: ESMC, tokens: Tensor, others: Tensor) -> list[float]:
    """Return the largest absolute differences of sequences alone from a batch of them, and from other numbers."""
    alone = torch.cat([model(row[row != PAD][None]).embeddings[0] for row in tokens])
    return [float((alone - found).abs().max()) for found in (model(tokens).embeddings[tokens != PAD], others)]


if __name__ == "__main__":
    main()
