"""Checkpoints of ESM-2, ESM C and DNABERT-S, read without running code from pickles."""

import argparse
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from virnucpro.data.cards import Architecture
from virnucpro.encoders.attention import choose_attention
from virnucpro.encoders.dnabert import DNABERT, DNABERTConfig
from virnucpro.encoders.dnabert_tokenizer import DNABERTTokenizer
from virnucpro.encoders.esm import ESM, ESMConfig
from virnucpro.encoders.layouts import Parts, convert_parts, is_dnabert, is_esmc, read_dnabert, read_esm2, read_esmc
from virnucpro.encoders.linear import Linear
from virnucpro.encoders.memory import device_memory
from virnucpro.encoders.names import TOKENIZER
from virnucpro.errors import UserError

Encoder = ESM | DNABERT  # on its device, ready to run over packed batches


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[ESMConfig | DNABERTConfig, Parts]:
    """Read a checkpoint of ESM-2, ESM C or DNABERT-S, and the config.json that Hugging Face puts beside it.

    Returns:
        The model's sizes, and the tensors of its parameters and buffers, mapped from the file.

    Raises:
        UserError: The file is missing, damaged, holds more than tensors, or is not a complete model.
    """
    path = Path(path)
    loaded = _load(path)
    loaded = loaded if isinstance(loaded, Mapping) else {}
    state = loaded["model"] if isinstance(loaded.get("model"), Mapping) else loaded
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    architecture: Architecture = "DNABERT-S" if is_dnabert(tensors) else "ESM C" if is_esmc(tensors) else "ESM-2"
    try:
        settings = _config_json(path)
        if architecture == "DNABERT-S":
            return read_dnabert(tensors, settings)
        read = read_esmc(tensors, settings) if architecture == "ESM C" else read_esm2(loaded, tensors, settings)
    except ValueError as error:
        article = "a" if architecture == "DNABERT-S" else "an"
        raise UserError(
            f"{path}: not {article} {architecture} that can be used: {error}; give another checkpoint"
        ) from None
    if read is None:
        raise UserError(f"{path}: no ESM-2, ESM C or DNABERT-S: it has no token embeddings; give another checkpoint")
    return read


def load_encoder(path: str | os.PathLike[str], device: torch.device, dtype: torch.dtype) -> Encoder:
    """Return the model of a checkpoint, ready to run; matrices are in `dtype`, norms and rotary frequencies in FP32.

    Raises:
        UserError: As `read_checkpoint`, or the device has no room for the weights.
    """
    config, parts = read_checkpoint(path)
    dtypes = {name: torch.float32 if "norm" in name or name == "inv_freq" else dtype for name in parts}
    needed = sum(part.numel() * dtypes[name].itemsize for name in parts for part in parts[name])
    _, available = device_memory(device)
    if needed > available:
        raise UserError(
            f"{path}: the weights take {needed / 1e9:.1f} GB in {str(dtype).removeprefix('torch.')}, and {device} has "
            f"{available / 1e9:.1f} GB free; choose a smaller model, half precision or a larger device"
        )
    model: Encoder
    with torch.device("meta"):
        if isinstance(config, DNABERTConfig):
            model = DNABERT(config)
            model.tokenizer = DNABERTTokenizer(Path(path).with_name(TOKENIZER))
        else:
            model = ESM(config, choose_attention(device, dtype))
    weights = {}
    for name, pieces in parts.items():  # one by one, so that only one tensor is in memory twice
        converted = convert_parts(name, pieces, config) if isinstance(config, ESMConfig) else pieces
        moved = [piece.to(device, dtypes[name]) for piece in converted]
        weights[name] = torch.cat(moved) if len(moved) > 1 else moved[0]
    model.load_state_dict(weights, assign=True)
    if device.type == "cpu":
        for module in model.modules():
            if isinstance(module, Linear):
                module.pack()
    return model.eval().requires_grad_(False)


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # fair-esm's files hold settings as an argparse.Namespace, the only allowed class besides tensors.
        with torch.serialization.safe_globals([argparse.Namespace]):
            # Files from before torch 1.6 are not zip archives and cannot be mapped.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged file can raise anything; torch's own message suggests loading it unsafely
        if "allocate memory" in str(error):
            size = f"{path.stat().st_size / 1e9:.1f} GB"
            raise UserError(f"{path}: {size} do not fit this machine's memory; choose a smaller model") from None
        raise UserError(
            f"{path}: not loaded ({type(error).__name__}): it is not a checkpoint, is damaged, or holds more than "
            "tensors and could run code; give another file"
        ) from None


def _config_json(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint.with_name("config.json")
    try:
        settings = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}; copy it again, it belongs to {checkpoint.name}") from None
    return settings if isinstance(settings, dict) else {}
