"""On which runtimes candidates of a study may run: what was asked for, and what board and host have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgeopt.boards.board import Board
from edgeopt.core.candidate import LITERT, ONNXRUNTIME
from edgeopt.core.errors import ConfigError, ConnectError, EdgeoptError
from edgeopt.core.progress import Observer
from edgeopt.graph.litert import environment
from edgeopt.graph.litert.worker import Worker
from edgeopt.options import Runtime
from edgeopt.runtimes import litert, onnxruntime


@dataclass(frozen=True, slots=True)
class Runtimes:
    """What a study may use.

    Attributes:
        searched: On which candidates run, the default first.
        beside: On which references are measured, and no candidates.
        worker: LiteRT's conversion tools; None where nothing runs on LiteRT.
    """

    searched: tuple[str, ...] = (ONNXRUNTIME,)
    beside: tuple[str, ...] = ()
    worker: Worker | None = None


@contextlib.contextmanager
def open_runtimes(asked: Runtime, board: Board, observer: Observer) -> Iterator[Runtimes]:
    """Settle on the runtimes, and keep the conversion tools at hand.

    With `auto`, a runtime that board or host lacks is left out, and the user is told why. With `onnxruntime`,
    LiteRT is measured beside where all that it takes is there already: nothing is installed for it.

    Raises:
        ConnectError: The board lacks the runtime that was asked for.
        ConfigError: This machine lacks LiteRT, which was asked for, or the board computes nothing.
        EdgeoptError: The conversion tools cannot be installed.
    """
    if asked == ONNXRUNTIME:
        _require_onnxruntime(board)
        tools = environment.found()
        if tools is None or _refusal(_require_litert, board) is not None:
            yield Runtimes()
            return
        with Worker(tools) as worker:
            yield Runtimes(beside=(LITERT,), worker=worker)
        return
    if asked == LITERT:
        _require_litert(board)
        with Worker(environment.environment(observer.announce)) as worker:
            yield Runtimes((LITERT,), worker=worker)
        return
    if (without := _refusal(_require_litert, board)) is not None:
        observer.announce(f"--runtime auto: LiteRT is left out: {_said(without)}")
        _require_onnxruntime(board)
        yield Runtimes()
        return
    missing = _refusal(_require_onnxruntime, board)
    if missing is not None:
        observer.announce(f"--runtime auto: ONNX Runtime is left out: {_said(missing)}")
    try:
        tools = environment.environment(observer.announce)
    except EdgeoptError as error:
        if missing is not None:
            raise
        observer.announce(f"--runtime auto: LiteRT is left out: {_said(error)}")
        yield Runtimes()
        return
    with Worker(tools) as worker:
        yield Runtimes((LITERT,) if missing else (ONNXRUNTIME, LITERT), worker=worker)


def _require_onnxruntime(board: Board) -> None:
    if onnxruntime.NAME not in board.facts.runtimes:  # it answers, for it has LiteRT
        raise ConnectError(
            f"{board.name}: its Python cannot import onnxruntime",
            hint=f"install it there with its Python: -m pip install '{onnxruntime.INSTALL}'",
        )


def _require_litert(board: Board) -> None:
    if board.provenance == "predicted":
        raise ConfigError(
            "what a model takes on LiteRT is not known without running it",
            hint="use a real or a virtual board, or --runtime onnxruntime",
        )
    version = board.facts.runtimes.get(litert.NAME)
    if version is None:
        raise ConnectError(
            f"{board.name}: its Python cannot import {litert.INSTALL}",
            hint=f"install it there with its Python: -m pip install {litert.INSTALL}",
        )
    litert.supported(version)
    litert.version()


def _refusal(require: Callable[[Board], None], board: Board) -> EdgeoptError | None:
    try:
        require(board)
    except (ConfigError, ConnectError) as error:
        return error
    return None


def _said(error: EdgeoptError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
