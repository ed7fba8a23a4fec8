"""Changes of files for fuzz.py, by bytes, by words and by the structure of each format."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml
from safetensors.numpy import load, save

from tests.calling.original import random_classifier
from virnucpro.config import PROPERTIES
from virnucpro.data.provenance import _digest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DEMO = Path(__file__).parents[1] / "config" / "demo.fna.gz"
_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-seeds-")  # files that tables name
SEEDS = Path(_FOLDER.name)
COMPRESSIONS = (gzip.compress, bz2.compress, lzma.compress, zstd.compress)
TOKENS = [
    *("", "\0", "\t", "\n", "\r", "\r\n", "\ufeff", "\u2028", "\x85", "\x1b[31m", "é", "\\", "\\ud800", "//", "LOCUS"),
    *(">", ">a", "@", "*", "-", ".", "..", "../x", "/", "~", "~root/x", "$HOME", "{x}", "<x>", "&a [*a]", "2001-99-99"),
    *("0", "-1", "3", "1e999", "nan", "inf", "0x10", "null", "true", "{}", "[]", "[", '"', "'", "50 %", "=1+1"),
    *(unit * 3000 for unit in ("1", "a", "[", "(", '{"a":')),
]
VALUES: list[Any] = [
    *(None, True, 0, -1, 3, 2**31, 2**64, 10**400, 1.5, 1e308, float("inf"), float("nan"), "a" * 300, [], {}, [[]]),
    *("", "a", "é", "\0", "\n", "auto", "../x", "[1, 2]", "null", "0.5", [0], [None], {"a": 1}, ["a", "a"], ["1"]),
]


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Flip, cut, repeat, insert or overwrite bytes, at one to six places."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 6))):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.6 else rng.randrange(min(len(data), 600) + 1)
        size = rng.choice((1, 1, 2, 4, 8, 100))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)]) if at < len(data) else b""
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[at : at + size] * rng.choice((1, 2, 50))
            case 3:
                data[at:at] = rng.randbytes(size)
            case 4:
                data[at : at + size] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
            case _:
                del data[at if rng.random() < 0.3 else len(data) :]
    return bytes(data)


def mutate_tokens(rng: random.Random, content: bytes) -> bytes:
    """Replace, remove, repeat or exchange words, at one to four places."""
    words = re.split(r"(\W)", content.decode("latin-1"))
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, other = rng.randrange(len(words)), rng.randrange(len(words))
        token = rng.choice(TOKENS).encode().decode("latin-1")
        words[at] = rng.choice((token, token, words[at] + token, "", words[other], words[at] * 2))
    return "".join(words).encode("latin-1")


def mutate_json(rng: random.Random, value: Any) -> Any:
    """Replace, remove, add or repeat one value of a tree."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        changed: Any = value.copy()
        match rng.randrange(12):
            case 0:
                del changed[key]
            case 1 if isinstance(value, dict):
                changed[rng.choice(("more", "", "é"))] = rng.choice(VALUES)
            case 2 if isinstance(value, list):
                changed.insert(key, value[key])
            case _:
                changed[key] = mutate_json(rng, value[key])
        return changed
    return rng.choice(VALUES)


def compress(rng: random.Random, content: bytes) -> bytes:
    """Compress a file, sometimes in several members of one or several formats."""
    cut = rng.randrange(len(content) + 1) if rng.random() < 0.3 else 0
    how = rng.choice(COMPRESSIONS)
    other = how if rng.random() < 0.8 else rng.choice(COMPRESSIONS)
    return (how(content[:cut]) if cut else b"") + other(content[cut:])


def change_lines(rng: random.Random, content: bytes) -> bytes:
    """Remove, repeat, exchange or join lines."""
    lines = content.splitlines(keepends=True) or [b""]
    for _number in range(rng.choice((1, 2, 5))):
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[at] = rng.choice((b"", lines[at] * 2, lines[other], lines[at].strip(), lines[at].replace(b"\n", b"\r")))
    return b"".join(lines)


def change_cells(rng: random.Random, content: bytes) -> bytes:
    """Change the cells, the columns or the lines of a table."""
    rows = [line.split(b"\t") for line in content.splitlines()]
    row = rng.choice(rows)
    at = rng.randrange(len(row))
    match rng.randrange(5):
        case 0:
            row[at] = mutate_tokens(rng, row[at])
        case 1:
            row[at] = rng.choice(rng.choice(rows))
        case 2:
            for each in rows:
                each[at:at] = each[at : at + 1]
        case 3:
            for each in rows:
                del each[at : at + 1]
        case _:
            return change_lines(rng, content)
    return b"\n".join(map(b"\t".join, rows))


def change_json(rng: random.Random, content: bytes) -> bytes:
    """Change a value of a JSON file; the digest of a record is made again, so that its content is read."""
    value = mutate_json(rng, json.loads(content))
    if isinstance(value, dict) and "sha256" in value and rng.random() < 0.8:
        del value["sha256"]
        value = {"sha256": _digest(value)} | value
    return json.dumps(value).encode()


def change_config(rng: random.Random, content: bytes) -> bytes:
    """Set keys of a config to odd values, or to text as `--config` passes it."""
    config = yaml.safe_load(content)
    for key in rng.choices(list(PROPERTIES), k=rng.choice((1, 2, 6))):
        value = mutate_json(rng, rng.choice([config.get(key, [1, 2]), PROPERTIES[key].get("default")]))
        config[key] = (
            mutate_tokens(rng, json.dumps(value).encode()).decode("utf-8", "replace") if rng.random() < 0.5 else value
        )
    return json.dumps(config).encode()  # JSON is YAML


def random_array(rng: random.Random, like: Any) -> Any:
    """Return an array of another type, another shape or other values."""
    flat = np.asarray(like).reshape(-1)
    match rng.randrange(6):
        case 0:
            return np.asarray(like).astype(rng.choice(["f2", "f8", "i1", "i8", "u4", "?"]))
        case 1:
            return np.atleast_1d(like)[..., : rng.randrange(3)]
        case 2:
            return flat[: rng.randrange(9)]
        case 3:
            return np.zeros(rng.choice([(), (0,), (1, 1), (0, 4), (2, 3, 4)]), np.asarray(like).dtype)
        case 4:
            return np.asarray(like)[None]
        case _:
            return np.full_like(like, rng.choice([0, 1, 255, -1] if flat.dtype.kind != "u" else [0, 1, 200]))


def change_arrays(rng: random.Random, arrays: dict[str, Any]) -> None:
    """Remove, rename, exchange or change one of several arrays."""
    key, other = rng.choice(list(arrays)), rng.choice(list(arrays))
    match rng.randrange(6):
        case 0:
            del arrays[key]
        case 1:
            arrays[f"{key}2"] = arrays[key]
        case 2:
            arrays[key] = arrays[other]
        case _:
            arrays[key] = random_array(rng, arrays[key])


def change_safetensors(rng: random.Random, content: bytes) -> bytes:
    """Change an array, the description in the metadata, or the header."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    ((key, text),) = header["__metadata__"].items()
    match rng.randrange(4):
        case 0:
            arrays = load(content)
            change_arrays(rng, arrays)
            return save(arrays, {key: text})
        case 1:
            return save(load(content), {key: json.dumps(mutate_json(rng, json.loads(text)))})
        case 2:
            header["__metadata__"][key] = mutate_tokens(rng, text.encode()).decode("utf-8", "replace")
        case _:
            header = mutate_json(rng, header)
    written = json.dumps(header).encode()
    return len(written).to_bytes(8, "little") + written + content[8 + size :]


def change_npz(rng: random.Random, content: bytes) -> bytes:
    """Change an array, or the bytes of an array behind a right checksum."""
    with np.load(io.BytesIO(content)) as loaded:
        arrays = dict(loaded)
    if rng.random() < 0.4:
        key = rng.choice(list(arrays))
        by = mutate_tokens if key == "table" else mutate_bytes
        flat = np.frombuffer(by(rng, arrays[key].tobytes()), np.uint8)
        arrays[key] = flat if key == "table" else flat[: len(flat) // 4 * 4].reshape(4, -1)
    elif rng.random() < 0.5:
        change_arrays(rng, arrays)
    else:
        return rezip(rng, content, mutate_bytes)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def rezip(rng: random.Random, content: bytes, by: Callable[[random.Random, bytes], bytes]) -> bytes:
    """Change one member of a zip archive, with a right checksum."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        changed = rng.choice(old.namelist())
        for name in old.namelist():
            new.writestr(name, by(rng, old.read(name)) if name == changed else old.read(name))
    return file.getvalue()


def change_hdf5(rng: random.Random, content: bytes) -> bytes:
    """Change a dataset, its layout, a link or an attribute."""
    raw = io.BytesIO(content)
    with h5py.File(raw, "r+") as file:
        name = rng.choice(list(file))
        old = file[name][()]
        match rng.randrange(7):
            case 0:
                del file[name]
                file[name] = random_array(rng, old if old.dtype != object else np.arange(3))
            case 1:
                del file[name]
                file.create_dataset(name, data=old, chunks=True, compression="gzip")
            case 2:
                del file[name]
                file[name] = rng.choice(
                    [h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/absent"), h5py.SoftLink("/")]
                )
            case 3:
                del file[name]
                file.create_group(name)
            case 4:
                del file[name]
                layout = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
                file.create_dataset(name, (3, 4), np.float32, external=layout)
            case 5:
                file.attrs["description"] = json.dumps(mutate_json(rng, json.loads(file.attrs["description"])))
            case _:
                file.attrs["description"] = rng.choice([b"\xff", 3, np.arange(3), "", h5py.Empty("f"), "[" * 5000])
    return raw.getvalue()


class _Code:
    """Object whose pickle calls a function."""

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def change_pth(rng: random.Random, content: bytes) -> bytes:
    """Change tensors or the pickle of a file, or put code into it."""
    raw = io.BytesIO()
    match rng.randrange(4):
        case 0:
            state: dict[str, Any] = {name: value.numpy() for name, value in random_classifier(20).state_dict().items()}
            change_arrays(rng, state)
            torch.save({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}, raw)
        case 1:
            evidence = str(SEEDS / "ran")
            code = _Code(
                *rng.choice(
                    [
                        (os.system, (f"touch {evidence}",)),
                        (subprocess.call, (["touch", evidence],)),
                        (eval, (f"open({evidence!r}, 'w')",)),
                        (exec, (f"open({evidence!r}, 'w')",)),
                        (open, (evidence, "w")),
                        (Path.touch, (Path(evidence),)),
                        (shutil.copy, (str(DEMO), evidence)),
                        (torch.save, ([], evidence)),
                        (getattr, ("a", "format")),
                        (torch.load, (evidence,)),
                    ]
                )
            )
            held = rng.choice(
                [code, [code], {"hidden_layer.weight": code}, {"_modules": {"a": code}}, {code.call[0]: 1}]
            )
            if rng.random() < 0.3:
                return pickle.dumps(held, protocol=rng.randrange(6))
            torch.save(held, raw, _use_new_zipfile_serialization=rng.random() < 0.5)
        case _ if zipfile.is_zipfile(io.BytesIO(content)):
            return rezip(rng, content, rng.choice([mutate_bytes, mutate_tokens]))
        case _:
            calls = (
                b"cposix\nsystem\n",
                b"cbuiltins\neval\n",
                b"ctorch.nn.modules.linear\nLinear\n",
                b"c__main__\nMLPClassifier\n",
            )
            at = rng.randrange(len(content))
            code_bytes = (
                rng.choice(calls)
                + b"(X"
                + struct.pack("<I", 4)
                + b"ls>x"
                + rng.choice([b"tR.", b"t\x81.", b"ooo.", b"}b."])
            )
            return content[:at] + code_bytes + content[at:]
    return raw.getvalue()
