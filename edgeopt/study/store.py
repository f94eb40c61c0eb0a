"""All trials of one model on one board, kept in an Optuna journal that survives kills and full disks.

In the folder: `study.log` (Optuna's journal), `samples/<number>.npy` (latencies), `study.lock` (ours),
`previous/1/`, `previous/2/`, … (what each `fresh` put aside).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from edgeopt.core.candidate import Candidate
from edgeopt.core.closing import Closing
from edgeopt.core.digest import value_digest
from edgeopt.core.errors import StudyError
from edgeopt.core.files import cannot_write, write_atomically
from edgeopt.core.objective import Objective
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import PREDICTED, Kind, Trial
from edgeopt.study import front, records
from edgeopt.study import space as space_file
from edgeopt.study.lock import FolderLock

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from edgeopt.study.journal import Journal

NAME = "edgeopt"
LOG = "study.log"
IDENTITY, MODEL, ABOUT, RECORD, NOTE, WITHHELD = (
    f"edgeopt:{key}" for key in ("identity", "model", "about", "record", "note:", "withheld")
)
ABLATIONS = "ablations.json"
PUT_ASIDE = (
    LOG, space_file.NAME, ABLATIONS, "samples", "policy", "best.onnx", "best.tflite", "best.json",
    "report.html",
)  # fmt: skip
MakeSampler = Callable[[Callable[[], Sequence[Trial]]], "BaseSampler"]


class StudyStore(Closing):
    """Ask for candidates, tell results. Use it as a context manager; see `open`.

    Attributes:
        folder: Absolute.
        resumed: True if the folder already held trials.
    """

    def __init__(self, folder: Path, space: SearchSpace, objective: Objective | None) -> None:
        self.folder, self.space, self._objective = folder, space, objective
        self.resumed = False
        self._lock = FolderLock(folder)
        self._done: dict[int, Trial] = {}
        self._by_identity: dict[str, int] = {}
        self._orphans: list[int] = []
        self._distributions: dict[str, BaseDistribution] = {}
        self._study: Study
        self._storage: JournalStorage
        self._journal: Journal

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        space: SearchSpace,
        identity: Mapping[str, str],
        make_sampler: MakeSampler | None = None,
        objective: Objective | None = None,
        fresh: bool = False,
        read_only: bool = False,
    ) -> Self:
        """Open or create the study in `folder`.

        Args:
            identity: Digests of what trials depend on (model, data, board, runtime, objective, ...), by the
                name that an error shall use.
            make_sampler: Given the history, makes the sampler; needed to `ask`.
            objective: Tells the sampler's figure; without it, the median latency.
            fresh: Put an old study and its result aside (into `previous/<n>/`) and begin anew.
            read_only: Take no lock, repair nothing, write nothing.

        Raises:
            StudyError: Another process uses the folder, the journal is damaged, or the study there belongs to
                something else: names each difference.
            EdgeoptError: The disk is full or not writable.
        """
        store = cls(folder.resolve(), space, objective)
        if not read_only:
            store._lock.acquire()
        try:
            if fresh and not read_only:
                store._put_aside()
            store._load(identity, make_sampler, read_only)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Release the folder."""
        self._lock.release()

    @property
    def trials(self) -> list[Trial]:
        """Finished trials, by number."""
        return [self._done[number] for number in sorted(self._done)]

    @property
    def notes(self) -> dict[str, Any]:
        """Facts about the study as a whole."""
        attributes = self._study.user_attrs.items()
        return {key.removeprefix(NOTE): value for key, value in attributes if key.startswith(NOTE)}

    def note(self, key: str, value: object) -> None:
        """Keep a JSON-able fact about the study as a whole (`baseline`, `region_ms`, ...)."""
        self._study.set_user_attr(NOTE + key, value)

    def get(self, number: int) -> Trial | None:
        """A finished trial; None while it runs."""
        return self._done.get(number)

    def ask(self) -> tuple[int, Candidate]:
        """The next candidate: one that a kill left running, else the sampler's proposal.

        Raises:
            StudyError: Opened without a sampler.
        """
        if self._orphans:
            number = self._orphans.pop(0)
            return number, self._candidate(self._frozen(number))
        if not self._can_ask:
            raise StudyError("this study was opened without a sampler")
        with self._journal.batch():
            trial = self._study.ask(self._distributions)
            trial.set_user_attr(ABOUT, {"kind": "candidate", "name": ""})
        return trial.number, self.space.candidate(trial.params)

    def ask_candidate(self, candidate: Candidate, kind: Kind, name: str) -> int:
        """Number under which to tell the result of a given candidate (a reference).

        If it was tried already this is the number of that trial (`get` returns it), and nothing is added; if
        a kill left it running, it is continued.
        """
        from optuna.trial import TrialState, create_trial

        self.space.validate(candidate)
        for frozen in self._study.get_trials(deepcopy=False):
            if self._candidate(frozen) == candidate:
                if frozen.number in self._orphans:
                    self._orphans.remove(frozen.number)
                return frozen.number
        decided = dict(candidate.decisions)
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params={site: decided[site] for site in self._distributions},
                distributions=self._distributions,
                user_attrs={ABOUT: {"kind": kind, "name": name}, **_withheld(self.space, decided)},
            )
        )
        return self._study.get_trials(deepcopy=False)[-1].number

    def tell(self, trial: Trial, measurement_identity: str | None = None) -> None:
        """Keep the result of a trial; it is on disk when this returns.

        Args:
            trial: With the number that `ask` or `ask_candidate` gave.
            measurement_identity: Of what was measured, for `seen`.

        Raises:
            StudyError: It was told before, or never asked for.
            EdgeoptError: The disk is full; the trial will be asked for again.
        """
        if trial.number in self._done or trial.number >= len(self._study.get_trials(deepcopy=False)):
            raise StudyError(f"trial {trial.number} was told before, or never asked for")
        if trial.measurement and trial.measurement.latencies_ms:
            path = records.samples_path(self.folder / "samples", trial.number)
            try:
                path.parent.mkdir(exist_ok=True)
            except OSError as error:
                raise cannot_write(path, error) from error
            write_atomically(path, records.dump_samples(trial.measurement))
        predicted = records.predictions(self._frozen(trial.number).user_attrs.get(PREDICTED))
        trial = replace(trial, predicted=predicted)
        self._finish(trial, records.to_json(trial, measurement_identity, self.folder))

    def seen(self, measurement_identity: str) -> Trial | None:
        """The trial in which exactly this was measured, so that it is not measured again."""
        number = self._by_identity.get(measurement_identity)
        return None if number is None else self._done[number]

    def best(self, objective: Objective) -> Trial | None:
        """The trial with the smallest figure among those that kept every constraint."""
        return front.best(self.trials, objective)

    def pareto(self) -> list[Trial]:
        """Trials that no other beats in everything, fastest first."""
        return front.pareto(self.trials)

    def _load(self, identity: Mapping[str, str], make_sampler: MakeSampler | None, read_only: bool) -> None:
        import optuna

        from edgeopt.study.journal import Journal, drop_half_asked, remove_stale_locks

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = self.folder / LOG
        if not read_only:
            remove_stale_locks(path)
            drop_half_asked(path, frozenset(point.site for point in self.space.points))
        self._distributions = {
            point.site: optuna.distributions.CategoricalDistribution(point.options)
            for point in self.space.points
        }
        self._journal = Journal(path, read_only)
        self._storage = optuna.storages.JournalStorage(self._journal)
        self._can_ask = make_sampler is not None
        sampler = make_sampler(lambda: self.trials) if make_sampler else optuna.samplers.RandomSampler(seed=0)
        exists = any(study.study_name == NAME for study in self._storage.get_all_studies())
        if exists or read_only:
            self._study = optuna.load_study(study_name=NAME, storage=self._storage, sampler=sampler)
        else:
            with self._journal.batch():
                self._study = optuna.create_study(storage=self._storage, sampler=sampler, study_name=NAME)
        self._check(dict(identity), read_only)
        if not read_only:
            space_file.save(self.folder, self.space)
        self._recover(read_only)

    def _check(self, identity: dict[str, str], read_only: bool) -> None:
        space = value_digest([[point.site, *point.options] for point in self.space.points])
        wanted = identity | {"search space": space}
        kept = self._study.user_attrs.get(IDENTITY)
        if kept is None and not read_only:
            with self._journal.batch():
                self._study.set_user_attr(IDENTITY, wanted)
                self._study.set_user_attr(MODEL, self.space.model_digest)
            return
        kept = kept or {}
        different = sorted(key for key in wanted | kept if wanted.get(key) != kept.get(key))
        if different:
            changes = "; ".join(
                f"{key} was {_short(kept.get(key))}, is {_short(wanted.get(key))}" for key in different
            )
            raise StudyError(
                f"the study in {self.folder} belongs to something else: {changes}",
                hint="--fresh begins anew (the old study and its result are kept in previous/), "
                "-o DIR uses another folder",
            )

    def _recover(self, read_only: bool) -> None:
        for frozen in self._study.get_trials(deepcopy=False):
            self.resumed = True
            record = frozen.user_attrs.get(RECORD)
            if frozen.state.is_finished():
                if record:
                    self._remember(self._trial(frozen, record), record)
            elif record and not read_only:
                # Killed between the result and its state: the measurement is not lost.
                self._finish(self._trial(frozen, record), record)
            else:
                self._orphans.append(frozen.number)

    def _finish(self, trial: Trial, record: records.Json) -> None:
        from edgeopt.study.outcome import outcome

        state, value, constraint = outcome(trial, self._objective, self.trials)
        trial_id = self._frozen(trial.number)._trial_id
        with self._journal.batch():
            self._storage.set_trial_user_attr(trial_id, RECORD, record)
            if constraint is not None:
                self._storage.set_trial_system_attr(trial_id, "constraints", [constraint])
            self._study.tell(trial.number, value, state=state)
        self._remember(trial, record)

    def _remember(self, trial: Trial, record: records.Json) -> None:
        self._done[trial.number] = trial
        if (key := record["measurement_identity"]) and trial.measurement:
            self._by_identity.setdefault(key, trial.number)

    def _trial(self, frozen: FrozenTrial, record: records.Json) -> Trial:
        samples = self.folder / "samples"
        predicted = frozen.user_attrs.get(PREDICTED)
        return records.from_json(frozen.number, self._candidate(frozen), record, samples, predicted)

    def _candidate(self, frozen: FrozenTrial) -> Candidate:
        return candidate_of(self.space.model_digest, frozen)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _put_aside(self) -> None:
        old = [self.folder / name for name in PUT_ASIDE if (self.folder / name).exists()]
        if not old:
            return
        previous = self.folder / "previous"
        previous.mkdir(exist_ok=True)
        taken = [int(path.name) for path in previous.iterdir() if path.name.isdecimal()]
        aside = previous / str(max(taken, default=0) + 1)
        aside.mkdir()
        for path in old:
            path.rename(aside / path.name)


def candidate_of(model_digest: str, frozen: FrozenTrial) -> Candidate:
    """What a trial of Optuna's stands for."""
    return Candidate.of(model_digest, {**frozen.params, **frozen.user_attrs.get(WITHHELD, {})})


def _withheld(space: SearchSpace, decided: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Decisions that are no parameters of Optuna's: its samplers would decide them."""
    known = {point.site: decided[point.site] for point in space.withheld if point.site in decided}
    return {WITHHELD: known} if known else {}


def _short(value: str | None) -> str:
    if value is None:
        return "unknown"
    return f"{value[:12]}…" if re.fullmatch("[0-9a-f]{64}", value) else value
