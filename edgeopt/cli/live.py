"""What a person sees while a study runs: a live view on a terminal, plain lines elsewhere. All on stderr."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgeopt.cli.console import err
from edgeopt.core.progress import Observer
from edgeopt.core.trial import Trial
from edgeopt.report.figures import UNKNOWN, factor, ms

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table

RECENT = 6


def view(*, as_json: bool, remarks: Sequence[str] = ()) -> PlainView:
    """The view for this terminal. `remarks` follow the first announcement, which must be the first line."""
    console = err()
    live = console.is_terminal and not as_json and not os.environ.get("CI")
    return LiveView(console, remarks) if live else PlainView(console, remarks)


class PlainView(Observer):
    """One line per event: for logs, pipes, CI and `--json`."""

    def __init__(self, console: Console, remarks: Sequence[str] = ()) -> None:
        self._console = console
        self._remarks = list(remarks)
        self._original_ms: float | None = None
        self._best: Trial | None = None
        self._left = ""

    def announce(self, line: str) -> None:
        from rich.text import Text

        for text in (line, *self._remarks):
            self._console.print(Text(text))
        self._remarks = []

    def stage(self, name: str, total: int | None = None) -> None:
        self._say(f"{name} ({total} to go)" if total else name)

    def trial(self, trial: Trial) -> None:
        if trial.kind == "baseline" and trial.measurement:
            self._original_ms = trial.measurement.p50_ms
        left = f"  [{self._left}]" if self._left else ""
        self._say(f"trial {trial.number:>3}  {self._outcome(trial)}{left}")

    def best(self, trial: Trial) -> None:
        self._best = trial
        self._say(f"best so far: {self._headline(trial)}")

    def budget(self, left: str, used: float | None = None) -> None:  # noqa: ARG002 - a line has no bar
        self._left = left

    def _say(self, line: str) -> None:
        from rich.text import Text

        self._console.print(Text(line))

    def _latency(self, trial: Trial) -> str:
        return str(trial.measurement.latency) if trial.measurement else UNKNOWN

    def _outcome(self, trial: Trial) -> str:
        parts = [f"{trial.state:<10} {self._latency(trial)}"]
        if trial.name:
            parts.append(trial.name)
        if trial.accuracy and trial.accuracy.drop is not None:
            parts.append(f"drop {trial.accuracy.drop:+.4f} absolute")
        return "  ".join(parts + ([trial.reason] if trial.reason else []))

    def _headline(self, trial: Trial) -> str:
        speed = self._factor(trial)
        against = f"  {speed} as fast as the original" if speed != UNKNOWN else ""
        return f"{self._latency(trial)}{against}  (trial {trial.number})"

    def _factor(self, trial: Trial) -> str:
        p50_ms = trial.measurement.p50_ms if trial.measurement else None
        return factor(self._original_ms / p50_ms if self._original_ms and p50_ms else None)


class LiveView(PlainView):
    """A panel that is redrawn at each event only: a clockwork of redraws would disturb local measurements."""

    def __init__(self, console: Console, remarks: Sequence[str] = ()) -> None:
        super().__init__(console, remarks)
        self._recent: deque[Trial] = deque(maxlen=RECENT)
        self._stage, self._done, self._total = "starting", 0, None
        self._board_state, self._used = "", None
        self._live: Live | None = None

    _total: int | None
    _used: float | None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def stage(self, name: str, total: int | None = None) -> None:
        self._stage, self._done, self._total = name, 0, total
        self._draw()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        self._draw()

    def trial(self, trial: Trial) -> None:
        if trial.kind == "baseline" and trial.measurement:
            self._original_ms = trial.measurement.p50_ms
        self._recent.append(trial)
        self._draw()

    def best(self, trial: Trial) -> None:
        self._best = trial
        self._draw()

    def board(self, state: str) -> None:
        self._board_state = state
        self._draw()

    def budget(self, left: str, used: float | None = None) -> None:
        self._left, self._used = left, used
        self._draw()

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self.render(), refresh=True)

    def render(self) -> Group:
        """The panel as it is now."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim", justify="right", no_wrap=True)
        facts.add_column()
        steps = f"  {self._done} of {self._total}" if self._total else ""
        facts.add_row("stage", Text(f"{self._stage}{steps}"))
        if self._best:
            facts.add_row("best so far", Text(self._headline(self._best), style="bold green"))
        if self._board_state:
            facts.add_row("board", Text(self._board_state))
        if self._left:
            facts.add_row("budget", self._budget_row())
        return Group(facts, self._trials())

    def _budget_row(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        row = Table.grid(padding=(0, 1))
        used = self._used or 0.0
        row.add_row(ProgressBar(total=1.0, completed=min(1.0, used), width=30), Text(self._left))
        return row

    def _trials(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
        for heading, justify in (("trial", "right"), ("state", "left"), ("p50", "right"), ("speed", "right")):
            table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        table.add_column("drop (absolute)", justify="right", no_wrap=True)
        table.add_column("what", no_wrap=True, overflow="ellipsis")
        colours = {"COMPLETE": "green", "INFEASIBLE": "yellow", "FAILED": "red"}
        for trial in self._recent:
            accuracy = trial.accuracy
            drop = f"{accuracy.drop:+.4f}" if accuracy and accuracy.drop is not None else UNKNOWN
            measured = trial.measurement is not None and trial.measurement.provenance == "measured"
            p50 = ms(trial.measurement.p50_ms) if measured and trial.measurement else self._latency(trial)
            table.add_row(
                str(trial.number),
                Text(trial.state, style=colours[trial.state]),
                p50,
                self._factor(trial),
                drop,
                Text(trial.reason or trial.name),
            )
        return table
