"""A local HTTP server that counts what it sends, with or without byte ranges, and fails when it is told to."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_BLOCK = 64 * 1024


class CountingServer(ThreadingHTTPServer):
    """Serves the files of a folder; `sent` counts body bytes, `requests` the GET requests.

    While `failure` is set it is how GET requests are answered: with that status, or with 0 by closing the connection.
    """

    def __init__(self, folder: Path, ranges: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.ranges = folder, ranges
        self.sent, self.requests = 0, 0
        self.failure: int | None = None
        self.lock = threading.Lock()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.server.folder / self.path.lstrip("/").partition("?")[0]
        if not path.is_file():
            self.send_error(404)
            return
        if body and self.server.failure is not None:
            self._fail(self.server.failure)
            return
        data = path.read_bytes()
        total = len(data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and self.server.ranges:
            start = int(wanted[1])
            end = min(int(wanted[2]) + 1 if wanted[2] else total, total)
            data = data[start:end]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{total}")
        else:
            self.send_response(200)
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self._send(data)

    def _send(self, data: bytes) -> None:
        with self.server.lock:
            self.server.requests += 1
        for at in range(0, len(data), _BLOCK):
            block = data[at : at + _BLOCK]
            with self.server.lock:
                self.server.sent += len(block)
            try:
                self.wfile.write(block)
            except ConnectionError:  # the client has seen enough
                self.close_connection = True
                return

    def _fail(self, status: int) -> None:
        if status:
            self.send_error(status)
        else:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def serve(folder: Path, *, ranges: bool = True) -> Iterator[CountingServer]:
    """Serve a folder on a free port of this machine while the block runs."""
    server = CountingServer(folder, ranges)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
