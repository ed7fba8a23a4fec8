"""Write esmc.npz: representations of a small random ESM C by the package esm in FP64; run after an upgrade of it.

The package is not part of the tests' environment. In another one: pip install esm==3.2.1.post1 httpx, then
python -m tests.encoders.make_esmc in the folder of the repository.
"""

import numpy as np
import torch
from esm.models.esmc import ESMC
from esm.tokenization import get_esmc_model_tokenizers

from tests.encoders.esmc import EMBED_DIM, EXPECTED, HEADS, LAYERS, PROTEINS, random_state


@torch.inference_mode()
def main() -> None:
    """Embed each protein alone; layers 1 and 3, BOS and EOS included, and the tokens."""
    model = ESMC(EMBED_DIM, HEADS, LAYERS, get_esmc_model_tokenizers(), use_flash_attn=False).eval()
    missing, unexpected = model.load_state_dict(random_state(), strict=False)
    assert not unexpected and all(name.startswith("sequence_head.") for name in missing)
    model = model.double()
    tokens = [model._tokenize([protein]) for protein in PROTEINS]
    found = [model(row) for row in tokens]
    np.savez_compressed(
        EXPECTED,
        tokens=torch.cat([row[0] for row in tokens]).numpy().astype(np.uint8),
        first=torch.cat([output.hidden_states[0, 0] for output in found]).float().numpy(),
        last=torch.cat([output.embeddings[0] for output in found]).float().numpy(),
    )


if __name__ == "__main__":
    main()
