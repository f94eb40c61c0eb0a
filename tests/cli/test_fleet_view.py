"""What a person sees of a rollout, on a terminal and in a log."""

from __future__ import annotations

import io

from rich.console import Console

from edgeopt.cli.fleet import LiveFleetView, PlainFleetView, line_of
from edgeopt.field import seen
from edgeopt.field.outcome import Outcome

FAILED = Outcome("pi-1", "failed", "its outputs are wrong [bold]", kind="selftest", exit_code=5)


def told(view: PlainFleetView) -> None:
    with view:
        view.announce("going on with x")
        view.wave(1, 3, [f"pi-{number}" for number in range(9)])
        for name in ("pi-0", "pi-1"):
            view.phase(name, "connecting")
            view.sending(name, 500_000, 1_000_000)
        view.outcome(Outcome("pi-0", "updated", counter=3))
        view.outcome(FAILED)
        view.wave(2, 3, ["pi-9"])
        view.stage("asking", 2)
        view.advance()


def test_a_log_has_a_line_for_each_device() -> None:
    stream = io.StringIO()
    told(PlainFleetView(Console(file=stream, width=120, highlight=False)))
    assert stream.getvalue().splitlines() == [
        "going on with x",
        "wave 1 of 3: pi-0, pi-1, pi-2, pi-3, pi-4, pi-5 and 3 more",
        "pi-0: updated, serves 3",
        "pi-1: failed: its outputs are wrong [bold]",
        "wave 2 of 3: pi-9",
    ]


def test_a_terminal_has_a_bar_for_each_device_that_is_worked_on() -> None:
    stream = io.StringIO()
    view = LiveFleetView(Console(file=stream, width=100, force_terminal=True))
    told(view)
    shown = stream.getvalue()
    assert "sending 0.5 of 1.0 MB" in shown
    assert "wave 1 of 3" in shown
    assert "pi-1: failed: its outputs are wrong [bold]" in shown


def test_a_silent_device_is_shown_with_when_it_was_last_seen() -> None:
    silent = Outcome("pi-7", "unreached", "no route to host")
    assert line_of(silent) == "pi-7: not reached: no route to host"
    seen.note("pi-7", 4, "good")
    assert "(last seen 20" in line_of(silent)
    assert line_of(silent).endswith("with 4)")
