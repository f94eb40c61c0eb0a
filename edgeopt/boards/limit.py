"""A bound on what is asked of a board, whatever it is at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Event, Timer

from edgeopt.boards.board import Board


@contextlib.contextmanager
def closed_after(board: Board, seconds: float) -> Iterator[Event]:
    """Close the board when the time is over: who waits for its answer gets a `ConnectError`.

    The event is set then, which tells that from a board that is gone.
    """
    over = Event()

    def end() -> None:
        over.set()
        board.close()

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()
