from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.bench import made_up
from tests.cli.conftest import Ran


def test_a_replay_answers_as_table_page_and_document(run: Callable[..., Ran], folder: Path) -> None:
    made_up.oracle(30).save(folder / "o.jsonl.gz")
    flags = ["o.jsonl.gz", "--samplers", "random,local", "--seeds", 2, "--budget", 10, "--answers", "pool"]
    shown = run("bench", "search", *flags, "-o", "out")
    assert shown.code == 0, shown.err
    assert "pool: made-up on nowhere" in shown.out
    page = (folder / "out" / "index.html").read_text()
    assert page.count("<svg") == 1
    assert "made-up on nowhere" in page
    ran = run("bench", "search", *flags, "--json")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert set(document["ways"]) == {"pool"}
    speeds = document["ways"]["pool"]["by_oracle"]["made-up on nowhere"]["random"]["speed"]
    assert 0 < speeds["10"]["median"] <= 1


def test_the_shipped_oracles_are_used_where_none_is_named(run: Callable[..., Ran], folder: Path) -> None:
    ran = run(
        "bench", "search", "--samplers", "random", "--seeds", 1, "--budget", 3, "--answers", "pool", "--json"
    )
    assert ran.code == 0, ran.err
    names = [oracle["name"] for oracle in json.loads(ran.out)["oracles"]]
    assert "cnn on rpi4, emulated" in names


def test_what_cannot_be_run_is_refused(run: Callable[..., Ran], folder: Path) -> None:
    assert run("bench", "search", "none.jsonl.gz").code == 2
    made_up.oracle(12).save(folder / "o.jsonl.gz")
    wrong = run("bench", "search", "o.jsonl.gz", "--samplers", "randon")
    assert wrong.code == 2
    assert "did you mean random?" in wrong.err
    (folder / "m.onnx").touch()
    assert run("bench", "record", "m.onnx", "--device", "rpi4", "-o", "o.json").code == 2
