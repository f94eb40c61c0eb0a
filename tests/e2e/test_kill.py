"""`kill -9` at any moment: the same command goes on where it was, and nothing is lost or done twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.e2e.contract import check_result
from tests.e2e.program import Inside, Program, Ran, all_ended

OUT = ("--sampler", "random", "-o", "out")


class Study:
    """One command, killed and repeated; what its runs say together must be one study."""

    def __init__(self, edgeopt: Program, *arguments: object, budget: str = "3 trials") -> None:
        self._edgeopt = edgeopt
        self._command = edgeopt.optimizing(*arguments, "--budget", budget, *OUT)
        self.samples = edgeopt.folder / "out" / "samples"
        self.told: list[int] = []
        self._kept: dict[int, bytes] = {}

    def killed_at(self, moment: str) -> None:
        running = self._edgeopt.start(*self._command)
        assert running.reaches(moment), running.err
        self._note(running.kill())

    def killed_after(self, seconds: float) -> bool:
        """False if it was done before."""
        running = self._edgeopt.start(*self._command)
        worked = running.runs_for(seconds)
        self._note(running.kill())
        return worked

    def finished(self) -> Ran:
        ran = Inside(self._edgeopt.folder)(*self._command)
        assert ran.code == 0, ran.err
        self._note(ran)
        check_result(ran.document)
        assert "Traceback" not in ran.err
        # A kill between the journal and the line on stderr hides a line, never a trial.
        assert set(self.told) <= set(range(ran.document["trials"]))
        assert ran.document["measured"] == len(list(self.samples.glob("*.npy")))
        return ran

    def _note(self, ran: Ran) -> None:
        assert ran.code in (0, -9), ran.err
        again = set(ran.told) & set(self.told)
        assert not again, f"trials {again} were measured twice"
        self.told += ran.told
        for number, content in self._kept.items():
            assert (self.samples / f"{number}.npy").read_bytes() == content
        for number in self.told:
            file = self.samples / f"{number}.npy"
            if file.is_file():
                self._kept[number] = file.read_bytes()


@pytest.fixture
def study(edgeopt: Program, model: Path) -> Study:
    return Study(edgeopt, model.name)


def test_killed_in_the_baseline_the_references_the_search_and_the_final_stage(
    edgeopt: Program, model: Path, data: Path, home: Path
) -> None:
    study = Study(edgeopt, model.name, "--data", data.name, "--threads", 1)
    for moment in ("decisions; board time", "references (", "trial   3 ", "search (", "\nfinal ("):
        study.killed_at(moment)
        assert all_ended(home) == []
    ran = study.finished()
    assert {trial["name"] for trial in ran.document["references"]} >= {"int8-dynamic", "float16-storage"}
    assert all_ended(home) == []


def killed_at_random(study: Study, seed: int, times: int, home: Path) -> None:
    dice = random.Random(seed)
    for _ in range(times):
        if not study.killed_after(dice.uniform(0.5, 3.0)):
            break
    study.finished()
    assert all_ended(home) == []


def test_killed_at_random_moments(study: Study, home: Path) -> None:
    killed_at_random(study, seed=1, times=4, home=home)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_killed_at_many_random_moments(study: Study, seed: int, home: Path) -> None:
    killed_at_random(study, seed, times=12, home=home)


def test_garbage_at_the_end_of_the_journal_is_cut_off(edgeopt: Program, model: Path) -> None:
    study = Study(edgeopt, model.name, "--threads", 1, budget="0")
    study.killed_at("trial   1 ")
    with (study.samples.parent / "study.log").open("ab") as stream:
        stream.write(b'{"op_code":5,"worker_id":"\x00\xff half a rec')
    study.finished()
