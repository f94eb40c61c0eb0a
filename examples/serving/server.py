"""Serves a device's current model over HTTP, and takes up a new version without dropping a request.

    python server.py --port 8080
    curl -d '{"inputs": {"x": [[0.1, 0.2]]}}' http://127.0.0.1:8080/predict

In the agent's config.json, so that a switch is noticed at once and a sick version is taken back:

    {"on_switch": "curl -sf -X POST http://127.0.0.1:8080/reload", "health_url": "http://127.0.0.1:8080/health"}

A request runs to its end with the session that it began with; the next one takes the new session. Whoever
asks for `/reload` is answered when the new version is loaded, so what cannot be loaded is taken back, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy

sys.path += ["/var/lib/edgeopt/bin"]  # where the agent keeps a copy of itself
from edgeopt_field import Model, load

LOOK_EVERY_S = 5.0


class Requests(BaseHTTPRequestHandler):
    """Answers in JSON; connections stay open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    model: Model

    def do_GET(self) -> None:
        """`/health`: which version serves."""
        self._answer(200, {"version": self.model.version, "counter": self.model.counter})

    def do_POST(self) -> None:
        """`/predict`, and `/reload`, which looks for another version."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if self.path == "/reload":
                self._answer(200, {"changed": self.model.reload_if_changed()})
                return
            inputs = {
                name: numpy.asarray(value, "float32") for name, value in json.loads(body)["inputs"].items()
            }
            outputs = {name: value.tolist() for name, value in self.model.run(inputs).items()}
            self._answer(200, {"outputs": outputs})
        except (ValueError, KeyError, TypeError) as error:
            self._answer(400, {"error": str(error)})
        except Exception as error:  # whatever a runtime raises: this request fails, and no other
            self._answer(500, {"error": str(error)})

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line each."""

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def look(model: Model) -> None:
    """Notice a switch that nobody told of, for instance after a rollback at the next boot."""
    while True:
        time.sleep(LOOK_EVERY_S)
        try:
            model.reload_if_changed()
        except Exception as error:  # the version that serves here goes on
            print(f"cannot load the current version: {error}", file=sys.stderr)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--root", help="folder of the agent")
    asked = parser.parse_args()
    Requests.model = load(asked.root)
    threading.Thread(target=look, args=[Requests.model], daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", asked.port), Requests)
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
