"""A small web server of a repository and of the reports about it; any other serves the repository as well.

Behind a proxy that speaks HTTPS, or in a network of one's own: what is served is signed, what is received,
too, and neither is secret.
"""

from __future__ import annotations

import re
import shutil
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgeopt.core.errors import EdgeoptError, PackageError, SignatureError
from edgeopt.core.progress import Observer
from edgeopt.field.reports import LONGEST_BYTES, Inbox, RepeatedReport

REPORTS = "/reports"
SERVED = re.compile(r"/(metadata|targets)(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
RANGE = re.compile(r"bytes=(\d+)-(\d+)?")
SILENCE_S = 60.0


def server(
    folder: Path, inbox: Inbox | None, observer: Observer, host: str = "127.0.0.1", port: int = 0
) -> ThreadingHTTPServer:
    """A server that is bound, and serves once `serve_forever` is called.

    Args:
        folder: The repository.
        inbox: Where reports go; None: none are taken.
        observer: Is told of reports.
        port: 0: a free one.

    Raises:
        OSError: The port is taken.
    """
    made = ThreadingHTTPServer((host, port), partial(Exchange, folder, inbox, observer))
    made.daemon_threads = True
    return made


class Exchange(BaseHTTPRequestHandler):
    """One request: a file of the repository, from any byte on, or a report."""

    protocol_version = "HTTP/1.1"
    timeout = SILENCE_S
    server_version = "edgeopt"
    sys_version = ""

    def __init__(self, folder: Path, inbox: Inbox | None, observer: Observer, *socket: Any) -> None:
        self._folder, self._inbox, self._observer = folder, inbox, observer
        super().__init__(*socket)

    def do_GET(self) -> None:
        """A file; with `Range: bytes=N-`, what comes after its first N bytes."""
        file = self._folder / self.path.lstrip("/")
        if not SERVED.fullmatch(self.path) or not file.is_file():
            self._say(HTTPStatus.NOT_FOUND)
            return
        with file.open("rb") as stream:
            size = file.stat().st_size
            start, end = 0, size - 1
            if asked := RANGE.fullmatch(self.headers.get("Range", "")):
                start, end = int(asked[1]), min(end, int(asked[2] or end))
                if start > end:
                    self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                    self.send_header("Content-Range", f"bytes */{size}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            self.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - start + 1))
            fresh = "no-cache" if file.name == "timestamp.json" else "max-age=31536000, immutable"
            self.send_header("Cache-Control", fresh)
            self.end_headers()
            stream.seek(start)
            if end == size - 1:
                shutil.copyfileobj(stream, self.wfile)
            else:
                self.wfile.write(stream.read(end - start + 1))

    def do_POST(self) -> None:
        """A report: 204 kept, 409 kept before, 403 not the device's, 400 none, 507 no room."""
        length = self.headers.get("Content-Length", "")
        if self.path != REPORTS or self._inbox is None:
            self.close_connection = True
            self._say(HTTPStatus.NOT_FOUND)
        elif not length.isdigit() or int(length) > LONGEST_BYTES:
            self.close_connection = True
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._say(self._kept(self._inbox, self.rfile.read(int(length))))

    def _kept(self, inbox: Inbox, body: bytes) -> HTTPStatus:
        try:
            inbox.accept(body)
        except RepeatedReport:
            return HTTPStatus.CONFLICT
        except SignatureError as error:
            self._observer.announce(f"refused from {self.client_address[0]}: {error.message}")
            return HTTPStatus.FORBIDDEN
        except PackageError:
            return HTTPStatus.BAD_REQUEST
        except EdgeoptError as error:
            self._observer.announce(error.message)
            return HTTPStatus.INSUFFICIENT_STORAGE
        return HTTPStatus.NO_CONTENT

    def _say(self, status: HTTPStatus) -> None:
        self.send_response(status)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: what matters is announced."""
