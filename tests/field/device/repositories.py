"""A repository that devices pull from, and the web server in front of it, both able to misbehave."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any

from tests.field.device.packages import LATER, Json, Key, Vendor, signed


class Repository:
    """Files by path, as `edgeopt repository publish` lays them out.

    Attributes:
        asked: Paths that were asked for, and from which byte on.
        reports: What was posted.
        cut: A file whose path contains this breaks off after so many bytes, once.
    """

    def __init__(self, vendor: Vendor) -> None:
        self.vendor, self.files = vendor, dict[str, bytes]()
        self.asked: list[tuple[str, int]] = []
        self.reports: list[bytes] = []
        self.report_status = 204
        self.cut: tuple[str, int] | None = None
        self.version = 0
        repository = self

        class Requests(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.answer(self)

            def do_POST(self) -> None:
                repository.reports.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(repository.report_status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def publish(self, counter: int, share_ppm: int = 1_000_000, **changes: Any) -> None:
        """Offer a release."""
        payload = self.vendor.files(counter, **changes)
        for path, content in payload.items():
            place = PurePosixPath("targets") / path
            name = f"{hashlib.sha256(content).hexdigest()}.{place.name}"
            self.files[str(place.with_name(name))] = content
        metadata = self.vendor.metadata(counter, payload)
        for path, content in metadata.items():
            self.files[path.replace("targets.json", f"{counter}.targets.json")] = content
        self.stamp(counter, metadata["metadata/targets.json"], share_ppm)

    def stamp(
        self,
        counter: int,
        targets: bytes,
        share_ppm: int = 1_000_000,
        keys: list[Key] | None = None,
        expires: str = LATER,
    ) -> None:
        """Say what is newest."""
        self.version += 1
        keys = keys or self.vendor.keys
        snapshot = signed(
            self._document("snapshot", {"targets.json": _meta(counter, targets)}, expires), keys
        )
        self.files[f"metadata/{self.version}.snapshot.json"] = snapshot
        stamp = self._document("timestamp", {"snapshot.json": _meta(self.version, snapshot)}, expires)
        self.files["metadata/timestamp.json"] = signed({**stamp, "edgeopt": {"share_ppm": share_ppm}}, keys)

    def _document(self, role: str, meta: Json, expires: str) -> Json:
        return {
            "_type": role,
            "spec_version": "1.0.31",
            "version": self.version,
            "expires": expires,
            "meta": meta,
        }

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Serve a file, from where it is asked for."""
        path = request.path.lstrip("/")
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.asked.append((path, begin))
        content = self.files.get(path)
        if content is None:
            request.send_error(404)
            return
        request.send_response(206 if begin else 200)
        request.send_header("Content-Length", str(len(content) - begin))
        request.end_headers()
        rest = content[begin:]
        if self.cut and self.cut[0] in path:
            rest, self.cut = rest[: self.cut[1]], None
        request.wfile.write(rest)


def _meta(version: int, content: bytes) -> Json:
    return {
        "version": version,
        "length": len(content),
        "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
    }
