"""What a person sees while many devices are worked on, and what commands on fleets have in common."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from edgeopt.cli import names
from edgeopt.cli.console import err
from edgeopt.field.watching import FleetObserver

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from edgeopt.field.outcome import Outcome

DEVICES = "Devices"
SHOWN_AT_ONCE = 12

Boards = Annotated[
    list[str] | None,
    typer.Option(
        "--board", metavar="BOARD", autocompletion=names.complete_board, rich_help_panel=DEVICES,
        help="A name of boards.toml, ssh://user@host:port, local, or virtual:rpi4. Repeat for others.",
    ),
]  # fmt: skip
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group", metavar="NAME", autocompletion=names.complete_group, rich_help_panel=DEVICES,
        help="All boards of boards.toml with this name among their groups. Repeat for others.",
    ),
]  # fmt: skip
Root = Annotated[
    str | None,
    typer.Option(
        "--root", metavar="DIR", rich_help_panel=DEVICES,
        help="Folder on the devices. [dim]\\[default: field_root of boards.toml, or /var/lib/edgeopt][/dim]",
    ),
]  # fmt: skip
Sudo = Annotated[
    bool,
    typer.Option(
        "--sudo", help="Run the device's part as root, by sudo without a password.", rich_help_panel=DEVICES
    ),
]
AtOnce = Annotated[
    int,
    typer.Option(
        "--concurrency", metavar="N", min=1, max=200, help="Devices at once.", rich_help_panel=DEVICES
    ),
]
Wait = Annotated[
    str,
    typer.Option(
        "--wait", metavar="TIME", rich_help_panel=DEVICES,
        help="How long to try again when a device is unreachable, or the network loses it.",
    ),
]  # fmt: skip


def view(*, as_json: bool) -> PlainFleetView:
    """The view for this terminal."""
    console = err()
    live = console.is_terminal and not as_json and not os.environ.get("CI")
    return LiveFleetView(console) if live else PlainFleetView(console)


class PlainFleetView(FleetObserver):
    """One line per device: for logs, pipes, CI and `--json`."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def announce(self, line: str) -> None:
        self._say(line)

    def wave(self, number: int, count: int, names: Sequence[str]) -> None:
        self._say(f"wave {number} of {count}: {_listed(names)}")

    def outcome(self, outcome: Outcome) -> None:
        self._say(line_of(outcome))

    def _say(self, line: str) -> None:
        from rich.text import Text

        self._console.print(Text(line))


class LiveFleetView(PlainFleetView):
    """A bar for the wave, and one for each device that is being worked on; who is done becomes a line."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._whole: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[state]}", markup=False),
            console=self._console, transient=True, redirect_stdout=False,
        )  # fmt: skip
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def stage(self, name: str, total: int | None = None) -> None:
        self._begin(name, total)

    def wave(self, number: int, count: int, names: Sequence[str]) -> None:
        super().wave(number, count, names)
        self._begin(f"wave {number} of {count}", len(names))

    def advance(self, steps: int = 1) -> None:
        with self._lock:
            if self._progress is not None and self._whole is not None:
                self._progress.advance(self._whole, steps)
                task = self._progress.tasks[self._progress.task_ids.index(self._whole)]
                self._progress.update(self._whole, state=f"{task.completed:.0f} of {task.total or 0:.0f}")

    def phase(self, name: str, phase: str) -> None:
        with self._lock:
            if self._progress is None:
                return
            if name not in self._tasks:
                if len(self._tasks) >= SHOWN_AT_ONCE:
                    return
                self._tasks[name] = self._progress.add_task(f"  {name}", total=None, state=phase)
            self._progress.update(self._tasks[name], state=phase, total=None, completed=0)

    def sending(self, name: str, sent_bytes: int, total_bytes: int) -> None:
        with self._lock:
            if self._progress is not None and name in self._tasks:
                state = f"sending {sent_bytes / 1e6:.1f} of {total_bytes / 1e6:.1f} MB"
                self._progress.update(
                    self._tasks[name], state=state, total=max(1, total_bytes), completed=sent_bytes
                )

    def done(self, name: str) -> None:
        with self._lock:
            if self._progress is not None and name in self._tasks:
                self._progress.remove_task(self._tasks.pop(name))

    def outcome(self, outcome: Outcome) -> None:
        self.done(outcome.name)
        super().outcome(outcome)
        if outcome.state in ("updated", "current", "failed", "unreached"):
            self.advance()

    def _begin(self, what: str, total: int | None) -> None:
        with self._lock:
            if self._progress is None:
                return
            for task in (self._whole, *self._tasks.values()):
                if task is not None:
                    self._progress.remove_task(task)
            self._tasks.clear()
            self._whole = self._progress.add_task(what, total=total, state=f"0 of {total or 0}")


SAID = {
    "updated": "updated",
    "current": "has it already",
    "rolled-back": "rolled back",
    "unchanged": "left as it is",
    "failed": "failed",
    "unreached": "not reached",
    "pending": "not begun",
}


def line_of(outcome: Outcome) -> str:
    """A device and how it ended, with the reason, in one line."""
    from edgeopt.field import seen

    serves = "" if outcome.counter is None else f", serves {outcome.counter}"
    what = f"{outcome.name}: {SAID[outcome.state]}{serves if not outcome.reason else ''}"
    heard = None if outcome.has_answered else seen.last(outcome.name)
    return what + (f": {outcome.reason}" if outcome.reason else "") + (f" ({heard})" if heard else "")


def _listed(names: Sequence[str]) -> str:
    few = ", ".join(names[:6])
    return few if len(names) <= 6 else f"{few} and {len(names) - 6} more"
