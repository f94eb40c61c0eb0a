"""What must not be taken for something else when it goes wrong on a board: real runners and real causes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeopt.boards import feeds
from edgeopt.boards.requests import job, windows
from edgeopt.core.artifact import Artifact
from edgeopt.core.conditions import Setting
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import CommandError
from edgeopt.core.measurement import Protocol
from tests.boards.runners import SCREEN, SCRIPT, board
from tests.boards.tiny import FEEDS, artifact, chain
from tests.boards.virtual.processes import wait_until
from tests.sshd import descendants

LONG = replace(SCREEN, window_s=1e6, deadline_s=60)


class Talk:
    """A runner of this machine and its pipes; what it runs is a copy, which may be removed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.script = folder / "board", folder / "runner.py"
        shutil.copy(SCRIPT, self.script)
        (self.folder / "objects").mkdir(parents=True)
        self.process = subprocess.Popen(
            [sys.executable, self.script, self.folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip

    def measure(self, *models: Artifact, protocol: Protocol = SCREEN, **changes: object) -> dict[str, Any]:
        """A request, after everything that it needs was stored."""
        path = self.folder / "feeds.npz"
        names = feeds.write(path, [FEEDS])
        sha256 = file_digest(path)
        for source, name in [(path, sha256), *((one.path, one.sha256) for one in models)]:
            shutil.copy(source, self.folder / "objects" / name)
        return {
            "version": 1, "id": 7, "op": "measure", "deadline_s": protocol.deadline_s,
            "jobs": [job(one, sha256, names) for one in models], "protocol": windows(protocol) | changes,
        }  # fmt: skip

    def send(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.send(json.dumps(request).encode() + b"\n")
        assert self.process.stdout
        return dict(json.loads(self.process.stdout.readline()))

    def models(self) -> list[int]:
        """Processes that have loaded a runtime."""
        found = []
        for pid in descendants(self.process.pid):
            with contextlib.suppress(OSError):
                if "onnxruntime_pybind11" in Path(f"/proc/{pid}/maps").read_text():
                    found.append(pid)
        return found


@pytest.fixture
def talk(tmp_path: Path, home: Path) -> Iterator[Talk]:
    made = Talk(tmp_path)
    yield made
    for pid in [*descendants(made.process.pid), made.process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    made.process.wait()
    for stream in (made.process.stdin, made.process.stdout):
        if stream:
            stream.close()


def broken(tmp_path: Path) -> Artifact:
    return artifact(tmp_path, b"no model")


def test_heartbeats_that_come_together_with_requests_are_no_requests(talk: Talk) -> None:
    request = json.dumps({"version": 1, "id": 1, "op": "stat", "objects": []}).encode() + b"\n"
    out, _ = talk.process.communicate(request + b"\n" + request + b"\n\n" + request + b"\n", timeout=30)
    assert talk.process.returncode == 0
    assert [json.loads(line)["ok"] for line in out.splitlines() if line] == [[], [], []]


def test_a_host_that_goes_with_a_heartbeat_under_way_leaves_nothing_running(
    talk: Talk, tmp_path: Path
) -> None:
    request = talk.measure(artifact(tmp_path, chain(2)), protocol=LONG)
    talk.send(json.dumps(request).encode() + b"\n")
    wait_until(lambda: bool(talk.models()), 60)
    there = descendants(talk.process.pid)
    assert talk.process.stdin
    assert talk.process.stdout
    talk.process.stdout.close()
    talk.process.stdin.write(b"\n")
    talk.process.stdin.close()
    assert talk.process.wait(30) == 0
    assert not [pid for pid in there if Path(f"/proc/{pid}/exe").exists()]


def test_a_runner_that_is_removed_is_not_the_models_fault(talk: Talk, tmp_path: Path) -> None:
    request = talk.measure(artifact(tmp_path, chain(2)))
    assert talk.ask({"version": 1, "id": 1, "op": "stat", "objects": []})["ok"] == []
    talk.script.unlink()
    error = talk.ask(request)["error"]
    assert (error["kind"], "has been removed" in error["message"]) == ("io", True), error


def test_a_model_that_is_removed_meanwhile_cannot_be_at_fault(supervisor: Any, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(2))
    feeds.write(tmp_path / "feeds.npz", [FEEDS])
    child = supervisor.Child(supervisor.Orders(supervisor.Lease()), 60.0)
    about = {**job(model, "", ["x"]), "model": str(tmp_path / "gone"), "feeds": str(tmp_path / "feeds.npz")}
    with pytest.raises(supervisor.Failed, match="was removed") as failure:
        child.ask("load", job=about, started_ns=0)
    assert failure.value.kind == "io"
    with pytest.raises(supervisor.Failed) as failure:
        child.ask("load", job={**about, "model": str(model.path), "feeds": "/nowhere"}, started_ns=0)
    assert failure.value.kind == "io"


def test_a_control_that_fails_while_the_board_is_warmed_up_is_not_the_candidates_fault(
    talk: Talk, tmp_path: Path
) -> None:
    bad, good = broken(tmp_path), artifact(tmp_path, chain(2))
    error = talk.ask(talk.measure(bad, good, soak=True))["error"]
    assert (error["kind"], error["message"].partition(":")[0]) == (
        "io", "the control model fails while the board is warmed up",
    )  # fmt: skip
    assert talk.ask(talk.measure(bad, soak=True))["error"]["kind"] == "load"


def test_figures_beside_other_work_that_has_ended_are_none(tmp_path: Path, home: Path) -> None:
    protocol = replace(SCREEN, window_s=3.0, setting=Setting("app", load=0.2))

    def kill_one() -> None:
        wait_until(lambda: bool(workers()), 60)
        os.kill(workers()[0], signal.SIGTERM)

    with board("local") as opened:
        killing = threading.Thread(target=kill_one)
        killing.start()
        with pytest.raises(CommandError, match="beside the models ended before them"):
            opened.measure([artifact(tmp_path, chain(2))], FEEDS, protocol)
        killing.join()
        assert not workers()


def workers() -> list[int]:
    """Copies of a runner of this test that keep cores busy."""
    runners, copies = [], []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"edgeopt_runner.py" in line and b"--child" not in line:
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                (copies if parent in runners else runners).append(pid)
    return copies


def test_nobody_outlives_a_parent_that_died_before_it_was_asked_for() -> None:
    program = (
        "import importlib.util, os\n"
        f"spec = importlib.util.spec_from_file_location('runner', {str(SCRIPT)!r})\n"
        "runner = importlib.util.module_from_spec(spec); spec.loader.exec_module(runner)\n"
        "runner.die_with_parent({parent})\nos._exit(0)"
    )
    for parent, status in (("os.getppid()", 0), ("os.getpid()", 1)):
        ran = subprocess.run([sys.executable, "-c", program.format(parent=parent)], check=False)
        assert ran.returncode == status


def test_a_firmware_that_hangs_says_nothing(
    supervisor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert supervisor.firmware("get_throttled", base=0) is None


def test_what_others_remove_while_one_makes_room_is_gone(home: Path) -> None:
    """As it looks in between: a name that leads nowhere."""
    objects = home / ".cache" / "edgeopt" / "objects"
    objects.mkdir(parents=True)
    (objects / ("0" * 64 + ".part")).symlink_to("/nowhere")
    with board("local") as opened:
        assert opened.clean() == 0
