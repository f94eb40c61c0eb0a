from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import edgeopt.optimize
from edgeopt.core.errors import BoardError
from edgeopt.core.objective import Limits, MaxDrop
from edgeopt.core.progress import Observer
from edgeopt.options import Budget, OptimizeOptions
from tests.cli.conftest import Ran
from tests.report import made_up


class FakeJob:
    """Stands in for `edgeopt.optimize.optimize`: notes what it is asked, answers what it is told."""

    def __init__(self) -> None:
        self.options: OptimizeOptions | None = None
        self.exit_code = 0
        self.trials = made_up.study()

    def __call__(self, options: OptimizeOptions, observer: Observer) -> Any:
        self.options = options
        observer.announce("board local: this machine")
        observer.stage("references", 6)
        for trial in self.trials[:8]:
            observer.trial(trial)
            observer.advance()
        observer.best(self.trials[1])
        observer.board("52 °C")
        observer.budget("34 trials left", 0.15)
        return SimpleNamespace(document=made_up.result(self.trials), exit_code=self.exit_code)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> FakeJob:
    fake = FakeJob()
    monkeypatch.setattr(edgeopt.optimize, "optimize", fake, raising=False)
    return fake


@pytest.fixture
def model(folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(b"not looked at here")
    return path


def test_flags_become_options(run: Callable[..., Ran], job: FakeJob, model: Path, folder: Path) -> None:
    (folder / "d.npz").touch()
    ran = run(
        "optimize", model, "--device", "rpi4", "--board", "predicted", "--data", "d.npz",
        "--max-drop", "0.02",
        "--objective", "size", "--max-size", "8M", "--max-p95", "20", "--shape", "x=1,3,8,8", "--shape", "y=",
        "--fixed", "sr=16000", "--budget", "40 trials",
        "--effort", "quick", "--sampler", "tpe", "--threads", 2,
        "--wait", "90s", "--seed", 0, "-o", "out", "--fresh", "--allow-unverified", "--require", "measured",
        "--structure", "--recover-budget", "5min",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    options = job.options
    assert options is not None
    assert options.structure
    assert options.recover_budget_s == 300
    assert options.model == model
    assert options.output == folder / "out"
    assert (options.board.device, options.board.board, options.board.wait_s) == ("rpi4", "predicted", 90)
    assert options.board.require == "measured"
    assert options.data.search == str(folder / "d.npz")
    assert options.data.shapes == {"x": (1, 3, 8, 8), "y": ()}
    assert options.data.fixed == {"sr": "16000"}
    assert options.objective.max_drop == MaxDrop(0.02, relative=False)
    assert options.objective.limits == Limits(max_p95_ms=20.0, max_size_bytes=8e6)
    assert (options.budget, options.sampler, options.threads) == (Budget(trials=40), "tpe", 2)
    assert (options.seed, options.effort, options.fresh, options.allow_unverified) == (0, "quick", True, True)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("--recover-budget", "5min"), "needs --structure"),
        (("--structure", "--recover-budget", "soon"), "not a duration"),
    ],
)
def test_a_time_to_recover_in_that_cannot_be_is_refused(
    run: Callable[..., Ran], job: FakeJob, model: Path, said: tuple[str, ...], why: str
) -> None:
    ran = run("optimize", model, "--device", "local", *said)
    assert (ran.code, job.options) == (2, None)
    assert "--recover-budget" in ran.err
    assert why in " ".join(ran.err.split())


def test_the_name_of_a_virtual_board_gives_the_device(
    run: Callable[..., Ran], job: FakeJob, model: Path, folder: Path
) -> None:
    assert run("optimize", model, "--board", "virtual:rpi5").code == 0
    assert job.options is not None
    assert (job.options.board.device, job.options.board.board) == ("rpi5", "virtual:rpi5")
    assert job.options.output == folder / "edgeopt-out" / "net-rpi5"


def test_the_name_of_a_virtual_board_beats_the_device_of_the_project_file(
    run: Callable[..., Ran], job: FakeJob, model: Path, folder: Path
) -> None:
    (folder / "edgeopt.toml").write_text('[board]\ndevice = "local"\n', encoding="utf-8")
    assert run("optimize", model, "--board", "virtual:rpi5").code == 0
    assert job.options is not None
    assert (job.options.board.device, job.options.board.board) == ("rpi5", "virtual:rpi5")


def test_defaults(run: Callable[..., Ran], job: FakeJob, model: Path, folder: Path) -> None:
    assert run("optimize", model, "--device", "local").code == 0
    assert job.options is not None
    assert job.options.output == folder / "edgeopt-out" / "net-local"
    assert job.options.budget == Budget(seconds=1800)
    assert job.options.objective.max_drop == MaxDrop(0.01, relative=True)
    assert job.options.threads is None
    assert job.options.data.search is None


def test_the_project_file_speaks_where_flags_do_not(
    run: Callable[..., Ran], job: FakeJob, model: Path, folder: Path
) -> None:
    (folder / "d.npz").touch()
    (folder / "edgeopt.toml").write_text(
        '[model]\npath = "net.onnx"\nshape = { x = [1, 4] }\nfixed = { sr = 8000 }\n'
        '[data]\npath = "d.npz"\nmax_drop = "2%"\n[data.preprocess]\nresize = [8, 8]\n'
        '[search]\nbudget = "5 trials"\nseed = 3\n[objective]\nmax_size = 1000\n[board]\ndevice = "rpi4"\n'
    )
    ran = run("optimize", "--device", "local", "--seed", 0, "--shape", "y=2")
    assert ran.code == 0, ran.err
    options = job.options
    assert options is not None
    assert options.model == model
    assert options.board.device == "local"
    assert (options.seed, options.budget) == (0, Budget(trials=5))
    assert options.data.shapes == {"x": (1, 4), "y": (2,)}
    assert options.data.fixed == {"sr": "8000"}
    assert options.data.preprocess == {"resize": [8, 8]}
    assert options.objective.max_drop == MaxDrop(0.02, relative=True)
    assert options.objective.limits.max_size_bytes == 1000
    assert options.project == folder / "edgeopt.toml"
    assert str(options.project) in ran.err


def test_with_neither_the_example_runs_and_that_is_said(run: Callable[..., Ran], job: FakeJob) -> None:
    ran = run("optimize", "--device", "rpi4")
    assert ran.code == 0, ran.err
    assert job.options is not None
    assert job.options.is_example
    assert job.options.model.parts[-3:] == ("examples", "cnn", "model.onnx")
    assert job.options.board.device == "rpi4"
    lines = ran.err.splitlines()
    assert lines[0] == "board local: this machine"
    assert "bundled example" in lines[1]


def test_json_is_one_document_and_the_rest_is_on_stderr(
    run: Callable[..., Ran], job: FakeJob, model: Path
) -> None:
    ran = run("optimize", model, "--device", "local", "--json")
    assert ran.document == made_up.result(job.trials)
    assert "trial   0  COMPLETE" in ran.err


@pytest.mark.parametrize("code", [5, 130])
def test_the_exit_code_is_the_results(run: Callable[..., Ran], job: FakeJob, model: Path, code: int) -> None:
    job.exit_code = code
    ran = run("optimize", model, "--device", "local", "--json")
    assert ran.code == code
    assert ran.document["verdict"] == "improved"


def test_the_end_says_what_is_worse_then_the_verdict(
    run: Callable[..., Ran], job: FakeJob, model: Path
) -> None:
    job.trials[-1] = made_up.trial(45, dict(job.trials[-1].candidate.decisions), 3.0, 0.001, 20_000_000)
    ran = run("optimize", model, "--device", "local")
    lines = [line for line in ran.out.splitlines() if line.strip()]
    assert lines[0].startswith("worse: file size is +42.9% worse")
    assert "+0.0210" in ran.out
    assert "Improved: " in ran.out
    assert "drop +0.0031 absolute" in ran.out


def test_a_board_that_fails_is_exit_4(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    def fails(options: OptimizeOptions, observer: Observer) -> Any:
        raise BoardError("no answer", hint="is it on?")

    monkeypatch.setattr(edgeopt.optimize, "optimize", fails, raising=False)
    ran = run("optimize", model, "--device", "local", "--json")
    assert ran.code == 4
    assert ran.document["error"]["message"] == "no answer"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "rpi44"], "unknown device"),
        ([], "which kind of board"),
        (["--device", "local", "--budget", "soon"], "--budget 'soon'"),
        (["--device", "local", "--max-drop", "-1"], "--max-drop"),
        (["--device", "local", "--max-size", "huge"], "--max-size"),
        (["--device", "local", "--max-latency", "0"], "--max-latency"),
        (["--device", "local", "--shape", "x"], "--shape"),
        (["--device", "local", "--fixed", "x=many"], "--fixed"),
        (["--device", "local", "--sampler", "ppoo"], "unknown sampler"),
        (["--device", "local", "--runtime", "tvm"], "--runtime"),
        (["--device", "local", "--conditions", "app"], "--rate, --load or --cpus"),
        (["--device", "local", "--cpus", "0-"], "not a list of cores"),
        (["--device", "local", "--cpus", ""], "--cpus '' is not a list of cores"),
        (["--device", "local", "--load", "0%"], "--load 0% is no load"),
        (["--device", "local", "--rate", "5", "--conditions", "bench"], "an application's"),
        (["--device", "local", "--load", "150%"], "not a share"),
        (["--device", "local", "--data", "nowhere"], "no such file"),
        (["--device", "local", "--metric", "top1"], "needs --data"),
        (["--device", "local", "--wait", "long"], "--wait"),
        (["--board", "kitchen"], "unknown board"),
        (["--board", "virtual"], "which kind of board"),
        (["--board", "virtual:rpi44"], "no known device"),
    ],
)
def test_contradictions_and_slips_are_exit_2(
    run: Callable[..., Ran], job: FakeJob, model: Path, arguments: list[str], words: str
) -> None:
    ran = run("optimize", model, *arguments)
    assert ran.code == 2
    assert words in ran.err
    assert len(ran.err.splitlines()) <= 2
    assert job.options is None


def test_a_missing_model_is_exit_2(run: Callable[..., Ran]) -> None:
    ran = run("optimize", "nowhere.onnx", "--device", "local")
    assert (ran.code, "no such file" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[search]\nseed = -1", "--seed -1 must be between 0 and"),
        ("[search]\nseed = 4294967296", "--seed 4294967296 must be between 0 and"),
        ("[search]\nthreads = -2", "--threads -2 must be at least 1"),
        ("[search]\nthreads = 0", "--threads 0 must be at least 1"),
        ('[search]\neffort = "foo"', "--effort 'foo' is unknown"),
        ("[model]\nbatch = 0", "--batch 0 must be at least 1"),
        ("[model]\nbatch_axis = -1", "batch_axis -1 must be at least 0"),
        ("[model]\nstate = { h_out = 3 }", "state h_out = 3: not the name of an input"),
    ],
)
@pytest.mark.parametrize("command", ["optimize", "measure"])
def test_the_project_file_says_nothing_that_a_flag_would_refuse(
    run: Callable[..., Ran], model: Path, folder: Path, command: str, text: str, says: str
) -> None:
    (folder / "edgeopt.toml").write_text(text)
    ran = run(command, model, "--device", "local")
    assert ran.code == 2
    assert ran.err.startswith(f"error: {says}")
