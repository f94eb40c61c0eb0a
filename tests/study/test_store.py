"""The study on disk: what is told comes back, after any kind of end."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from study_fixtures import IDENTITY, SPACE, cost_ms, open_store, result

from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import EdgeoptError, StudyError
from edgeopt.core.objective import Objective
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.core.trial import Accuracy
from edgeopt.study.read import read, rows
from edgeopt.study.store import StudyStore

INT8 = SPACE.candidate({f"precision@/r{i}": "int8" for i in range(6)})


def fill(folder: Path, count: int) -> list:
    with open_store(folder) as store:
        for _ in range(count):
            number, candidate = store.ask()
            store.tell(result(number, candidate), measurement_identity=f"m{number}")
        return store.trials


def test_what_was_told_comes_back_whole(tmp_path):
    told = fill(tmp_path, 3)
    with open_store(tmp_path) as store:
        assert store.resumed
        assert [t.number for t in store.trials] == [0, 1, 2]
        for before, after in zip(told, store.trials, strict=True):
            assert after.candidate == before.candidate
            assert after.artifact == before.artifact
            assert after.accuracy == before.accuracy
            assert after.measurement == before.measurement
    assert read(tmp_path).trials == tuple(told)


def test_the_journal_is_optunas_own_format(tmp_path):
    fill(tmp_path, 3)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
    study = optuna.load_study(study_name="edgeopt", storage=optuna.storages.JournalStorage(backend))
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3
    assert study.best_value == min(cost_ms(t.candidate) for t in read(tmp_path).trials)


def test_references_are_tried_once(tmp_path):
    with open_store(tmp_path) as store:
        number = store.ask_candidate(INT8, "reference", "int8")
        store.tell(result(number, INT8, kind="reference", name="int8"))
        assert store.ask_candidate(INT8, "reference", "int8") == number
        assert store.get(number) is not None
    with open_store(tmp_path) as store:
        assert store.ask_candidate(INT8, "reference", "int8") == number
        assert store.trials[0].kind == "reference"
        assert len(store.trials) == 1


def test_what_was_left_running_is_asked_again_first(tmp_path):
    with open_store(tmp_path) as store:
        reference = store.ask_candidate(INT8, "reference", "int8")
        number, candidate = store.ask()
    with open_store(tmp_path) as store:
        assert store.ask_candidate(INT8, "reference", "int8") == reference
        assert store.get(reference) is None
        assert store.ask() == (number, candidate)
        other, _ = store.ask()
        assert other == number + 1


def test_telling_twice_or_unasked_is_refused(tmp_path):
    with open_store(tmp_path) as store:
        number, candidate = store.ask()
        store.tell(result(number, candidate))
        with pytest.raises(StudyError, match="told before"):
            store.tell(result(number, candidate))
        with pytest.raises(StudyError, match="never asked"):
            store.tell(result(99, candidate))


def test_seen_finds_what_was_measured(tmp_path):
    fill(tmp_path, 2)
    with open_store(tmp_path) as store:
        assert store.seen("m1").number == 1
        assert store.seen("m9") is None


def test_notes_survive(tmp_path):
    with open_store(tmp_path) as store:
        store.note("region_ms", {"float32": {"/r0": 1.5}})
    with open_store(tmp_path) as store:
        assert store.notes == {"region_ms": {"float32": {"/r0": 1.5}}}
    assert read(tmp_path).notes == {"region_ms": {"float32": {"/r0": 1.5}}}


def test_another_identity_is_refused_naming_each_difference(tmp_path):
    fill(tmp_path, 1)
    with pytest.raises(StudyError, match=r"board was bbbbbbbbbbbb…, is cccc.*runtime was unknown") as caught:
        open_store(tmp_path, identity=IDENTITY | {"board": "c" * 64, "runtime": "1.28"})
    assert "model" not in caught.value.message.partition("something else")[2]
    assert "--fresh" in caught.value.hint


def test_another_space_is_refused(tmp_path):
    fill(tmp_path, 1)
    space = SearchSpace(SPACE.model_digest, (DecisionPoint("runtime:threads", ("1", "2"), "2"),))
    with pytest.raises(StudyError, match="search space"):
        open_store(tmp_path, space=space)


def test_fresh_puts_the_old_study_aside(tmp_path):
    fill(tmp_path, 2)
    for name in ("best.onnx", "best.json", "report.html", "mine.txt"):
        (tmp_path / name).write_text(name)
    with open_store(tmp_path, fresh=True, identity={"model": "other"}) as store:
        assert store.trials == []
        assert not store.resumed
    assert len(read(tmp_path / "previous" / "1").trials) == 2
    assert (tmp_path / "previous" / "1" / "best.onnx").read_text() == "best.onnx"
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "mine.txt", "space.json", "study.lock", "study.log",
    }  # fmt: skip


def test_no_study_that_was_put_aside_is_lost(tmp_path):
    for count in (1, 2, 3):
        open_store(tmp_path, fresh=True).close()
        fill(tmp_path, count)
    open_store(tmp_path, fresh=True).close()
    assert [len(read(tmp_path / "previous" / n).trials) for n in ("1", "2", "3")] == [1, 2, 3]


def test_a_moved_study_finds_its_artifacts(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    inside, outside = here / "artifacts" / "a.onnx", tmp_path / "b.onnx"
    with open_store(here) as store:
        for path in (inside, outside):
            number, candidate = store.ask()
            store.tell(result(number, candidate, artifact=Artifact("a", path, "a" * 64, 1)))
    here.rename(there)
    assert [t.artifact.path for t in read(there).trials] == [there / "artifacts" / "a.onnx", outside]
    with open_store(there) as store:
        assert [t.artifact.path for t in store.trials] == [there / "artifacts" / "a.onnx", outside]


def test_only_digests_are_cut_in_messages(tmp_path):
    fill(tmp_path, 1)
    long = "onnxruntime 1.28.0 with 4 threads on a Raspberry Pi"
    with pytest.raises(StudyError, match=rf"runtime was unknown, is {long}$"):
        open_store(tmp_path, identity=IDENTITY | {"runtime": long})


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    with open_store(tmp_path), pytest.raises(StudyError, match=f"in use by process {os.getpid()} on"):
        open_store(tmp_path)
    open_store(tmp_path).close()


def test_reading_needs_no_lock_and_changes_nothing(tmp_path):
    told = fill(tmp_path, 2)
    with (tmp_path / "study.log").open("ab") as stream:
        stream.write(b'{"op_code": 4, "wor')
    before = (tmp_path / "study.log").read_bytes()
    with open_store(tmp_path / "elsewhere"):
        assert read(tmp_path).trials == tuple(told)
        with open_store(tmp_path, read_only=True) as store:
            assert len(store.trials) == 2
            with pytest.raises(StudyError, match="reading only"):
                store.ask()
    assert (tmp_path / "study.log").read_bytes() == before


def test_stale_locks_of_optuna_are_removed(tmp_path):
    fill(tmp_path, 1)
    log = tmp_path / "study.log"
    (tmp_path / "study.log.lock").symlink_to(log)
    (tmp_path / "study.log.lock123.rename").symlink_to(log)
    assert len(fill(tmp_path, 1)) == 2
    assert not list(tmp_path.glob("study.log.lock*"))


@pytest.mark.parametrize(
    "garbage", [b'{"op_code": 8, "tri', b"\0" * 300, b"\xff\xfe\n\r\n{}\n[1]\n", b"null\n"]
)
def test_a_garbage_tail_is_cut(tmp_path, garbage):
    fill(tmp_path, 2)
    log = tmp_path / "study.log"
    whole = log.read_bytes()
    log.write_bytes(whole + garbage)
    with open_store(tmp_path) as store:
        assert len(store.trials) == 2
    assert log.read_bytes() == whole
    assert len(fill(tmp_path, 1)) == 3


def test_damage_in_the_middle_is_refused_and_left_alone(tmp_path):
    fill(tmp_path, 2)
    log = tmp_path / "study.log"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:3], b"garbage\n", *lines[3:]]))
    before = log.read_bytes()
    with pytest.raises(StudyError, match="damaged after record 3"):
        open_store(tmp_path)
    assert log.read_bytes() == before


def test_a_journal_cut_anywhere_resumes_with_every_told_trial(tmp_path):
    told = fill(tmp_path / "whole", 3)
    data = (tmp_path / "whole" / "study.log").read_bytes()
    rng = random.Random(0)
    for i, cut in enumerate(sorted(rng.sample(range(len(data)), 40))):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "samples").symlink_to(tmp_path / "whole" / "samples")
        (folder / "study.log").write_bytes(data[:cut])
        # A result counts as told once its record is whole; its state may still be missing.
        records = [json.loads(x) for x in data[:cut].splitlines(keepends=True) if x.endswith(b"\n")]
        expected = sum("edgeopt:record" in r.get("user_attr", {}) for r in records)
        with open_store(folder) as store:
            assert [t.candidate for t in store.trials] == [t.candidate for t in told[:expected]]
            for _ in range(4 - len(store.trials)):
                number, candidate = store.ask()
                (folder / "samples").unlink(missing_ok=True) if (folder / "samples").is_symlink() else None
                store.tell(result(number, candidate))
            assert [t.number for t in store.trials] == [0, 1, 2, 3]


def test_infeasible_and_failed_trials_teach_optuna_without_ever_being_best(tmp_path):
    with open_store(tmp_path, objective=Objective()) as store:
        number = store.ask_candidate(SPACE.default(), "baseline", "original")
        store.tell(result(number, SPACE.default(), kind="baseline", name="original"))
        number = store.ask_candidate(INT8, "reference", "int8")
        bad = Accuracy(0.5, 0.4, None, 100, "labels", "search")
        store.tell(
            result(number, INT8, state="INFEASIBLE", measurement=None, accuracy=bad, reason="accuracy drops")
        )
        number, candidate = store.ask()
        store.tell(result(number, candidate, state="FAILED", measurement=None, reason="out of memory"))
        assert store.best(Objective()).number == 0
        assert [t.number for t in store.pareto()] == [0]
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
    study = optuna.load_study(study_name="edgeopt", storage=optuna.storages.JournalStorage(backend))
    assert [t.state.name for t in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert [t.system_attrs.get("constraints") for t in study.trials] == [[0.0], [0.4], None]
    assert study.best_trial.number == 0


def test_export_rows_are_flat_and_unknown_is_none(tmp_path):
    fill(tmp_path, 1)
    (row,) = rows(read(tmp_path))
    assert row["p50_ms"] == pytest.approx(cost_ms(read(tmp_path).trials[0].candidate))
    assert row["energy_mj"] is None
    assert row["p99_ms"] is None
    json.dumps(row)


def test_killed_at_random_moments_nothing_is_lost_or_told_twice(tmp_path):
    folder, log = tmp_path / "study", tmp_path / "measured.jsonl"
    rng = random.Random(1)
    script = Path(__file__).with_name("study_fixtures.py")
    kept = []
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, script, folder, log], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout.readline() == b"open\n", process.stderr.read()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=rng.uniform(0.0, 0.3))
        process.kill()
        process.communicate()
        before, kept = kept, read(folder).trials
        assert list(kept[: len(before)]) == list(before)
    measured = [json.loads(line) for line in log.read_text().splitlines()]
    with open_store(folder) as store:
        trials = store.trials
    assert len({t.number for t in trials}) == len(trials) > 6
    times = {number: [m[1] for m in measured if m[0] == number] for number, _ in measured}
    # Only the measurement that a kill interrupted is repeated, and then it is the same candidate again.
    assert sum(len(keys) - 1 for keys in times.values()) <= 6
    assert all(len(set(keys)) == 1 for keys in times.values())
    assert {t.number: t.candidate.key for t in trials}.items() <= {n: k[0] for n, k in times.items()}.items()


def test_a_full_disk_is_one_error_and_the_study_resumes(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        full_by_limit(disk)
        return
    try:
        told = fill_until_full(disk)
        assert len(told) > 1
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        with open_store(disk) as store:
            assert store.trials == told
        assert len(fill(disk, 1)) == len(told) + 1
    finally:
        subprocess.run(["umount", disk], check=True)


def fill_until_full(folder: Path) -> list:
    with open_store(folder) as store:
        with pytest.raises(EdgeoptError, match=r"cannot write .*: No space left") as caught:
            tell_for_ever(store)
        assert caught.value.exit_code == 1
        assert "\n" not in caught.value.message
        return store.trials


def tell_for_ever(store: StudyStore) -> None:
    while True:
        number, candidate = store.ask()
        store.tell(result(number, candidate))


def full_by_limit(folder: Path) -> None:
    """Where nothing may be mounted: a process whose files cannot grow."""
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path;"
        "from study_fixtures import *; from edgeopt.core.errors import EdgeoptError;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); store = open_store(Path(sys.argv[1]));"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try:\n"
        "    while True:\n"
        "        number, candidate = store.ask(); store.tell(result(number, candidate))\n"
        "except EdgeoptError as error:\n"
        "    assert error.exit_code == 1; print(len(store.trials))"
    )
    here = str(Path(__file__).parent)
    answer = subprocess.run(
        [sys.executable, "-c", code, folder, here], capture_output=True, text=True, check=True
    )
    with open_store(folder) as store:
        assert len(store.trials) == int(answer.stdout) > 1
    assert len(fill(folder, 1)) == int(answer.stdout) + 1


def test_the_limit_on_file_size_is_handled_like_a_full_disk(tmp_path):
    full_by_limit(tmp_path)


def test_a_withheld_decision_comes_back_and_no_sampler_sees_it(tmp_path):
    withheld = DecisionPoint("recovery", ("refitted", "distilled"), "refitted")
    space = SearchSpace(SPACE.model_digest, SPACE.points, withheld=(withheld,))
    distilled = space.candidate({"recovery": "distilled"})
    make = {"make_sampler": lambda _: optuna.samplers.TPESampler(seed=0, n_startup_trials=1)}
    with StudyStore.open(tmp_path, space=space, identity=IDENTITY, **make) as store:
        assert store.ask_candidate(space.default(), "baseline", "original") == 0
        assert store.ask_candidate(distilled, "candidate", "distilled") == 1
        store.tell(result(0, space.default()))
        store.tell(result(1, distilled))
        assert store.ask_candidate(distilled, "candidate", "distilled") == 1
        _, proposed = store.ask()
        assert not proposed.is_distilled
    with StudyStore.open(tmp_path, space=space, identity=IDENTITY) as store:
        assert [trial.candidate.is_distilled for trial in store.trials] == [False, True]
    assert [trial.candidate for trial in read(tmp_path).trials] == [space.default(), distilled]
