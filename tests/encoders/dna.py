"""DNABERT-S for tests: random weights, a small tokenizer, and a padded implementation of the model in FP64."""

import json
import math
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional as F

SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
State = dict[str, Tensor]


def dna(length: int, seed: int = 0, letters: str = "ACGT") -> str:
    return "".join(random.Random(f"{length} {seed}").choices(letters, k=length))


def save_tokenizer(folder: Path, vocabulary: int = 64) -> Tokenizer:
    """Write tokenizer.json: byte-pair encoding learned from random DNA, padding and truncation switched on."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator([dna(1000, seed) for seed in range(20)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_padding(pad_id=3, length=2000)
    tokenizer.enable_truncation(50)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def random_state(layers: int, d: int, feed_forward: int, vocabulary: int, seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 0.2) -> Tensor:
        return scale * torch.randn(*shape, generator=generator)

    state = {
        "bert.embeddings.word_embeddings.weight": normal(vocabulary, d),
        "bert.embeddings.token_type_embeddings.weight": normal(2, d),
        "bert.pooler.dense.weight": normal(d, d),
    }
    for number in range(layers):
        layer = f"bert.encoder.layer.{number}."
        state |= {
            f"{layer}attention.self.Wqkv.weight": normal(3 * d, d),
            f"{layer}attention.self.Wqkv.bias": normal(3 * d),
            f"{layer}attention.output.dense.weight": normal(d, d),
            f"{layer}attention.output.dense.bias": normal(d),
            f"{layer}mlp.gated_layers.weight": normal(2 * feed_forward, d),
            f"{layer}mlp.wo.weight": normal(d, feed_forward),
            f"{layer}mlp.wo.bias": normal(d),
        }
        for norm in ("attention.output.LayerNorm", "mlp.layernorm"):
            state |= {f"{layer}{norm}.weight": 1 + normal(d), f"{layer}{norm}.bias": normal(d)}
    norm = "bert.embeddings.LayerNorm"
    return state | {f"{norm}.weight": 1 + normal(d), f"{norm}.bias": normal(d)}


def save_dnabert(folder: Path, layers: int = 2, d: int = 36, heads: int = 6, feed_forward: int = 40) -> State:
    """Write a model into a folder as Hugging Face does, and return its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = save_tokenizer(folder).get_vocab_size()
    state = random_state(layers, d, feed_forward, vocabulary)
    save_file(state, folder / "model.safetensors")
    config = {"model_type": "bert", "num_attention_heads": heads, "num_hidden_layers": layers, "hidden_size": d}
    (folder / "config.json").write_text(
        json.dumps(config | {"layer_norm_eps": 1e-12, "intermediate_size": feed_forward})
    )
    return state


def slopes(heads: int) -> list[float]:
    """Slopes by the recursive code of the authors of ALiBi."""

    def of_power(n: int) -> list[float]:
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    if math.log2(heads).is_integer():
        return of_power(heads)
    closest = 2 ** math.floor(math.log2(heads))
    return of_power(closest) + slopes(2 * closest)[0::2][: heads - closest]


def padded_means(state: State, heads: int, tokens: list[list[int]]) -> list[npt.NDArray[np.float64]]:
    """Return the means over all tokens of the last layer, by one padded and masked batch, FP64 [embed_dim] each."""
    state = {name.removeprefix("bert."): value.double() for name, value in state.items()}
    longest = max(map(len, tokens))
    ids = torch.tensor([row + [3] * (longest - len(row)) for row in tokens])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in tokens]).bool()
    d = state["embeddings.word_embeddings.weight"].shape[1]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (d,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    x = state["embeddings.word_embeddings.weight"][ids] + state["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    distance = (torch.arange(longest)[:, None] - torch.arange(longest)[None]).abs().double()
    bias = -torch.tensor(slopes(heads)).double()[:, None, None] * distance
    bias = bias[None].expand(len(tokens), -1, -1, -1).masked_fill(~mask[:, None, None], -torch.inf)
    number = 0
    while f"encoder.layer.{number}.mlp.wo.weight" in state:
        layer = f"encoder.layer.{number}."
        q, k, v = linear(x, f"{layer}attention.self.Wqkv").view(*ids.shape, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(d // heads) + bias).softmax(-1)
        attended = (weights @ v).transpose(1, 2).reshape(x.shape)
        x = norm(x + linear(attended, f"{layer}attention.output.dense"), f"{layer}attention.output.LayerNorm")
        gated = linear(x, f"{layer}mlp.gated_layers")
        width = gated.shape[-1] // 2
        x = norm(x + linear(F.gelu(gated[..., :width]) * gated[..., width:], f"{layer}mlp.wo"), f"{layer}mlp.layernorm")
        number += 1
    return [row[: len(ids)].mean(0).numpy() for row, ids in zip(x, tokens, strict=True)]
