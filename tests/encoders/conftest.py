"""A small random model of fair-esm, its weights in several layouts, and a server for them."""

import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from esm.model.esm2 import ESM2
from torch import Tensor

from tests.encoders.checkpoints import to_hugging_face
from tests.encoders.mirror import Mirror


@pytest.fixture
def fair_esm() -> ESM2:
    """Two layers of 64, four heads; its numbers are exact in half precision, like the numbers of the official 3B."""
    torch.manual_seed(0)
    model = ESM2(num_layers=2, embed_dim=64, attention_heads=4).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.normal_(mean=float("norm" in name), std=0.2)
    return model.half().float()


@pytest.fixture
def fair_esm_checkpoint(fair_esm: ESM2) -> dict[str, Any]:
    """Content of an official file; the contact head is in another file."""
    settings = Namespace(encoder_layers=2, encoder_embed_dim=64, encoder_attention_heads=4, token_dropout=True)
    state = fair_esm.state_dict()
    body = {f"encoder.sentence_encoder.{key}": value for key, value in state.items() if "head" not in key}
    heads = {f"encoder.{key}": value for key, value in state.items() if key.startswith("lm_head")}
    return {"cfg": {"model": settings}, "model": body | heads}


@pytest.fixture
def hugging_face_state(fair_esm: ESM2) -> dict[str, Tensor]:
    """State of an EsmModel of transformers 4."""
    state = {to_hugging_face(k): v.clone() for k, v in fair_esm.state_dict().items() if not k.startswith("lm_head")}
    return state | {
        "embeddings.position_ids": torch.arange(1026)[None],
        "embeddings.position_embeddings.weight": torch.randn(1026, 64),
        "pooler.dense.weight": torch.randn(64, 64),
        "pooler.dense.bias": torch.randn(64),
    }


@pytest.fixture
def hugging_face_config() -> dict[str, Any]:
    return {
        "architectures": ["EsmModel"],
        "emb_layer_norm_before": False,
        "hidden_size": 64,
        "layer_norm_eps": 1e-05,
        "model_type": "esm",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "position_embedding_type": "rotary",
        "rope_theta": 10000.0,
        "token_dropout": True,
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "virnucpro"


@pytest.fixture
def mirror(
    tmp_path: Path, cache: Path, fair_esm_checkpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mirror]:
    torch.save(fair_esm_checkpoint, tmp_path / "served.pt")
    with Mirror((tmp_path / "served.pt").read_bytes()) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("VIRNUCPRO_MODEL_URL", f"http://127.0.0.1:{server.server_port}/models")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
        server.go_on.set()
        server.shutdown()
