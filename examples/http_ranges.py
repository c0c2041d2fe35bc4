"""Sample a video behind a URL and see how little of it is fetched: python examples/http_ranges.py URL_OR_FILE

A file is served by this script itself, byte ranges included, so that it runs without a network.
"""

import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import frametap as ft


class RangeHandler(BaseHTTPRequestHandler):
    """Serves one file the way object stores do: size by HEAD, parts by GET with a Range."""

    file: Path
    sent = 0

    def do_HEAD(self) -> None:
        """Tell the size."""
        self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(self.file.stat().st_size))
        self.end_headers()

    def do_GET(self) -> None:
        """Send a part, or all of it."""
        data = self.file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        last = min(int(wanted[2]), len(data) - 1) if wanted and wanted[2] else len(data) - 1
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        type(self).sent += last + 1 - first
        self.wfile.write(data[first : last + 1])

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def main() -> None:
    """Sample what the command line names."""
    url = sys.argv[1]
    if "://" not in url:
        RangeHandler.file = Path(url)
        server = ThreadingHTTPServer(("127.0.0.1", 0), RangeHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{Path(url).name}"

    batch = ft.sample(url, ft.At([0.5]), ft.Transform(size=(224, 224)))
    print(f"{url}: {batch.shape}, frame {batch.indices[0]} at {batch.pts_seconds[0]:.2f} s")
    if RangeHandler.sent:
        size = RangeHandler.file.stat().st_size
        print(f"fetched {RangeHandler.sent:,} of {size:,} bytes ({RangeHandler.sent / size:.0%})")


if __name__ == "__main__":
    main()
