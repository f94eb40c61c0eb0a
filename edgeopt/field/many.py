"""Something done to many devices at once, and given up at once when the user says so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

from edgeopt.core.closing import Closing

Item = TypeVar("Item")
Result = TypeVar("Result")

USUAL_AT_ONCE = 10


class Stop(Event):
    """Set when nobody shall wait any longer; connections that are open then can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self._open: set[Closing] = set()

    @contextlib.contextmanager
    def cutting(self, connection: Closing) -> Iterator[None]:
        """`abandon` closes this connection, too, while the block lasts."""
        self._open.add(connection)
        try:
            yield
        finally:
            self._open.discard(connection)

    def abandon(self) -> None:
        """Give everything up now. What a device has begun by itself it brings to its end."""
        self.set()
        for connection in list(self._open):
            connection.close()


def each(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    at_once: int,
    stop: Stop,
    take: Callable[[Result], None],
    enough: Event | None = None,
) -> None:
    """Do something to every item, in threads.

    Args:
        work: In a thread of its own; what it raises ends everything.
        at_once: How many items at the same time.
        stop: Set: nothing new begins. It is abandoned when this thread is interrupted, or anything raises.
        take: Gets each result, in this thread, in the order in which they end.
        enough: Set by `take`: nothing new begins, and what has begun is brought to its end.
    """
    rest = iter(items)
    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(at_once, thread_name_prefix="device") as pool:
        try:
            while True:
                while len(running) < at_once and not stop.is_set() and not (enough and enough.is_set()):
                    try:
                        running.add(pool.submit(work, next(rest)))
                    except StopIteration:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    take(one.result())
        except BaseException:
            stop.abandon()
            raise
