"""A real server of one file, which serves it well, slowly, incompletely or wrongly; and downloads from it."""

import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from virnucpro.encoders.weights import find_weights
from virnucpro.errors import UserError

NAME = "esm2_t2_1M_UR50D"


class Mirror(ThreadingHTTPServer):
    """Serves one file; tests set how it fails.

    Attributes:
        body: Content of the file.
        length: Stated length, or None for no statement.
        sent: Bytes after which it stops.
        reset: Whether it stops with a reset.
        pause: Seconds between 64 KB.
        go_on: Event that it waits for after half of the file.
        requests: Requested paths.
        served: Name of the file.
        redirects: Address to redirect to, or None to serve the file.
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
        self.served = f"{NAME}.pt"
        self.redirects: str | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect: some tests do this."""


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        mirror.requests.append(self.path)
        if self.path != f"/models/{mirror.served}":
            self.send_error(404)
            return
        if mirror.redirects:
            self.send_response(302)
            self.send_header("Location", mirror.redirects)
            self.end_headers()
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


def files(cache: Path) -> list[str]:
    """All files in the cache except the empty lock."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def refusal(model: str = NAME) -> str:
    with pytest.raises(UserError) as caught:
        find_weights(model)
    message = str(caught.value)
    assert "\n" not in message
    return message
