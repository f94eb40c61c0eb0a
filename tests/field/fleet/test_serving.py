"""The small web server: files from any byte on, and reports."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeopt.core.progress import Observer
from edgeopt.field.reports import Inbox
from edgeopt.field.serving import server
from tests.field.fleet.test_reports import signed

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    folder = tmp_path / "www"
    (folder / "targets" / "variants").mkdir(parents=True)
    (folder / "targets" / "variants" / "ab.model.onnx").write_bytes(CONTENT)
    (folder / "targets" / ".hidden").write_bytes(b"half")
    (folder / "metadata").mkdir()
    (folder / "metadata" / "timestamp.json").write_text("{}")
    (tmp_path / "secret").write_text("secret")
    with server(folder, Inbox(tmp_path / "reports"), Observer()) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        opened = http.client.HTTPConnection("127.0.0.1", made.server_address[1], timeout=10)
        yield opened
        opened.close()
        made.shutdown()
        thread.join()


def asked(
    connection: http.client.HTTPConnection, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection.request("GET" if body is None else "POST", path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_files_are_served_whole_and_from_any_byte_on(connection: http.client.HTTPConnection) -> None:
    path = "/targets/variants/ab.model.onnx"
    assert asked(connection, path)[:2] == (200, CONTENT)
    status, rest, headers = asked(connection, path, Range="bytes=100-")
    assert (status, rest) == (206, CONTENT[100:])
    assert headers["Content-Range"] == f"bytes 100-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert asked(connection, path, Range="bytes=5-9")[:2] == (206, CONTENT[5:10])
    assert asked(connection, path, Range=f"bytes={len(CONTENT)}-")[0] == 416
    assert asked(connection, path, Range="bytes=-5")[0] == 200  # a form that nobody here asks in


@pytest.mark.parametrize(
    "path",
    [
        "/", "/secret", "/../secret", "/targets/../../secret", "/targets/%2e%2e/%2e%2e/secret",
        "/targets/.hidden", "/targets", "/targets/variants", "/metadata/none.json", "//etc/passwd",
        "/reports",
    ],
)  # fmt: skip
def test_nothing_else_is_served(path: str, connection: http.client.HTTPConnection) -> None:
    assert asked(connection, path)[0] == 404


def test_what_changes_is_not_cached(connection: http.client.HTTPConnection) -> None:
    assert asked(connection, "/metadata/timestamp.json")[2]["Cache-Control"] == "no-cache"
    assert "immutable" in asked(connection, "/targets/variants/ab.model.onnx")[2]["Cache-Control"]


def test_reports_are_answered_by_what_became_of_them(
    connection: http.client.HTTPConnection, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    body = signed(key)
    assert asked(connection, "/reports", body)[0] == 204
    assert asked(connection, "/reports", body)[0] == 409
    assert asked(connection, "/reports", signed(Ed25519PrivateKey.generate(), sequence=2))[0] == 403
    assert asked(connection, "/reports", b"{}")[0] == 400
    assert asked(connection, "/elsewhere", body)[0] == 404
    assert len(list((tmp_path / "reports").glob("*.jsonl"))) == 1


def test_a_huge_report_is_not_even_read(connection: http.client.HTTPConnection) -> None:
    connection.putrequest("POST", "/reports")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
