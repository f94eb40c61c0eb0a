"""Studies that are disturbed: no trial is lost or done twice, and no figure is anything but measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import made
from tests.e2e.program import Program
from tests.faults.bench import Bench
from tests.faults.sample import sampled
from tests.faults.studies import TROUBLES, Study, check, disk
from tests.sshd import Sshd


@pytest.fixture
def bench(
    make_sshd: Callable[[str], Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    monkeypatch.setenv("CI", "1")
    sshd = make_sshd("board")
    made_one = Bench(sshd, tmp_path)
    with (Path.home() / ".ssh" / "known_hosts").open("a") as file:
        file.write(sshd.known_hosts_line.replace(str(sshd.port), str(made_one.proxy.port)))
    yield made_one
    made_one.close()


SLOW = {"cable pulled", "runner stopped", "candidate hangs"}
"""Silence is noticed after minutes."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*sampled(sorted(set(TROUBLES) - SLOW), 1), *sampled(sorted(SLOW), 0)])
def test_study_in_trouble(name: str, bench: Bench, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    made.classifier(work / "net.onnx")
    made.samples(work / "data.npz")
    with disk(tmp_path / "disk") as (folder, is_small):
        if name == "host's disk full" and not is_small:
            pytest.skip("only root may mount a disk to fill it")
        trouble = TROUBLES[name]
        check(Study(bench, Program(work), folder / "out", trouble.wait), trouble)
