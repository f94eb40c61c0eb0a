"""What `--runtime` means on a board that has one runtime, both or none that is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgeopt.core.errors import ConfigError, ConnectError
from edgeopt.core.progress import Observer
from edgeopt.graph.litert.environment import Environment
from edgeopt.optimize.runtimes import open_runtimes
from tests.conftest import CACHE


class Heard(Observer):
    """What the user is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def announce(self, line: str) -> None:
        self.lines.append(line)


def board(provenance: str = "measured", **runtimes: str) -> Any:
    known = {name.replace("_", "-"): version for name, version in runtimes.items()}
    return SimpleNamespace(
        name="kitchen", provenance=provenance, facts=SimpleNamespace(runtimes=known)
    )  # fmt: skip


@pytest.fixture
def installed(home: object, tools: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The conversion tools are in this user's cache."""
    monkeypatch.setenv("EDGEOPT_CACHE", str(CACHE))
    return tools


BOTH = {"onnxruntime": "1.28.0", "litert": "2.1.2"}


def test_both_where_both_are(installed: Environment) -> None:
    heard = Heard()
    with open_runtimes("auto", board(**BOTH), heard) as found:
        assert found.searched == ("onnxruntime", "litert")
        assert found.worker is not None
        assert found.worker.environment == installed
    assert heard.lines == []


def test_what_a_board_lacks_is_left_out_and_told(installed: Environment) -> None:
    heard = Heard()
    with open_runtimes("auto", board(onnxruntime="1.28.0"), heard) as found:
        assert (found.searched, found.beside, found.worker) == (("onnxruntime",), (), None)
    with open_runtimes("auto", board(litert="2.1.2"), heard) as found:
        assert found.searched == ("litert",)
    assert heard.lines == [
        "--runtime auto: LiteRT is left out: kitchen: its Python cannot import ai-edge-litert "
        "(install it there with its Python: -m pip install ai-edge-litert)",
        "--runtime auto: ONNX Runtime is left out: kitchen: its Python cannot import onnxruntime "
        "(install it there with its Python: -m pip install 'onnxruntime<1.29')",
    ]
    with open_runtimes("auto", board("predicted", **BOTH), heard) as found:
        assert found.searched == ("onnxruntime",)
    assert "is not known without running it" in heard.lines[-1]


def test_what_was_asked_for_by_name_is_not_left_out(installed: Environment) -> None:
    with (
        pytest.raises(ConnectError, match="cannot import ai-edge-litert"),
        open_runtimes("litert", board(onnxruntime="1.28.0"), Observer()),
    ):
        pass
    with (
        pytest.raises(ConnectError, match="cannot import onnxruntime"),
        open_runtimes("onnxruntime", board(litert="2.1.2"), Observer()),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="is too old"),
        open_runtimes("litert", board(litert="1.0.1"), Observer()),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="not known without running it"),
        open_runtimes("litert", board("predicted", **BOTH), Observer()),
    ):
        pass


def test_beside_the_default_only_where_everything_is_there(
    installed: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    with open_runtimes("onnxruntime", board(**BOTH), Observer()) as found:
        assert (found.searched, found.beside) == (("onnxruntime",), ("litert",))
    with open_runtimes("onnxruntime", board(onnxruntime="1.28.0"), Observer()) as found:
        assert found.beside == ()
    monkeypatch.setenv("EDGEOPT_CACHE", str(tmp_path))
    with open_runtimes("onnxruntime", board(**BOTH), Observer()) as found:
        assert (found.beside, found.worker) == ((), None)
