"""Calibration: known factors come back, few measurements change little, a profile is kept where found."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.board import BoardFacts, Feeds
from edgeopt.boards.virtual import calibrating, calibration, counting, truth
from edgeopt.boards.virtual.calibration import Observation
from edgeopt.boards.virtual.counting import CacheTraffic, Counts, Segment
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError, CandidateFailed, ConfigError
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.quantity import Provenance
from edgeopt.resources import resource

COUNTS = Path(__file__).parents[2] / "fixtures" / "counts" / "three_nodes_cortex_a72.counts"
SHIPPED = resource("device_profiles") / "rpi4.toml"
SCREEN = Protocol("screen", 1, 64, 2.0, 0.5, 3.0, 60.0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEOPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


def model() -> CycleModel:
    return CycleModel.of(profiles.load("rpi4"))


def observed(truth: CycleModel, models: int = 4) -> list[Observation]:
    """What a board that `truth` describes would be measured at."""
    seen = []
    for number in range(models):
        # Some models compute, some wait.
        cycles, misses = 4e7 * (1 + number), 3_000_000 // (1 + number)
        last = CacheTraffic(misses // 4, misses // 5, misses // 10)
        traffic = Segment({}, misses, (CacheTraffic(misses, misses // 2, misses // 4), last))
        for threads in (1, 2, 4):
            ms = truth.latency_ms(cycles, traffic, threads)
            seen.append(Observation(f"m{number} x{threads}", f"m{number}", cycles, traffic, threads, ms))
    return seen


def test_the_factors_of_a_board_are_found_from_its_times() -> None:
    start = replace(model(), compute_factor=1.0, memory_factor=1.0, serial_fraction=0.15)
    truth = replace(start, compute_factor=1.3, memory_factor=0.8, serial_fraction=0.2)
    found = calibration.fit(start, observed(truth))
    assert found.compute_factor == pytest.approx(1.3, rel=0.05)
    assert found.memory_factor == pytest.approx(0.8, rel=0.1)
    assert found.serial_fraction == pytest.approx(0.2, rel=0.15), "a weak prior pulls"


def test_nothing_measured_changes_nothing() -> None:
    start = model()
    assert calibration.fit(start, []) is start


def test_what_agrees_already_stays() -> None:
    start = model()
    found = calibration.fit(start, observed(start))
    assert found.compute_factor == pytest.approx(start.compute_factor, rel=1e-3)


def test_one_measurement_moves_the_model_but_not_all_the_way() -> None:
    start = model()
    one = observed(replace(start, compute_factor=2 * start.compute_factor), models=1)[:1]
    before, after = (abs(calibration.residuals(m, one)[0]) for m in (start, calibration.fit(start, one)))
    assert 0 < after < before


def test_a_fit_is_judged_by_the_models_it_did_not_see() -> None:
    start = model()
    truth = replace(start, compute_factor=1.2)
    consistent = calibration.leave_one_model_out(start, observed(truth))
    assert calibration.root_mean_square(consistent) < 0.05
    odd = [replace(o, measured_ms=o.measured_ms * (2 if o.group == "m0" else 1)) for o in observed(truth)]
    assert calibration.root_mean_square(calibration.leave_one_model_out(start, odd)) > 0.2


def test_the_error_bar_is_earned_with_three_models_or_stays() -> None:
    start = model()
    assert calibrating.fitted(start, observed(start, models=2)).judged is None
    assert calibrating.fitted(start, observed(start, models=2)).after.log_sigma == start.log_sigma
    found = calibrating.fitted(start, observed(replace(start, compute_factor=1.2), models=4))
    assert found.judged is not None
    assert found.judged < 0.05
    assert found.after.log_sigma == calibrating.LEAST_SIGMA, "few models that agree do not speak for all"
    odd = [replace(o, measured_ms=o.measured_ms * (2 if o.group == "m0" else 1)) for o in observed(start)]
    found = calibrating.fitted(start, odd)
    assert found.after.log_sigma == found.judged


def test_what_was_fitted_goes_before_the_profile_that_ships_and_hides_nothing_else(home: Path) -> None:
    start = model()
    found = calibrating.fitted(start, observed(replace(start, compute_factor=1.3)))
    path = calibrating.save(profiles.load("rpi4"), found, "kitchen-pi")
    assert path == home / "profiles" / "devices" / "rpi4.toml"
    assert "clock_ghz" not in path.read_text()
    after = profiles.load("rpi4")
    assert after.get("emulation", "compute_factor") == pytest.approx(found.after.compute_factor, rel=1e-3)
    fact = after.fact("emulation", "compute_factor")
    assert fact is not None
    assert fact.source == "fitted by edgeopt boards calibrate: 12 measurements of kitchen-pi"
    assert after.get("cpu", "clock_ghz") == 1.5, "nothing else changed"
    assert after.get("emulation", "verified") == [], "it was compared with nothing that these factors emulate"
    judged = replace(found, verified=("onnxruntime x4",))
    calibrating.save(profiles.load("rpi4"), judged, "kitchen-pi")
    assert truth.source(profiles.load("rpi4"), "onnxruntime", 4) == truth.PRICED
    assert "unverified" in truth.source(profiles.load("rpi4"), "litert", 4)
    again = calibrating.save(after, calibrating.fitted(CycleModel.of(after), observed(start)), "kitchen-pi")
    assert again == path


def test_a_fit_that_makes_no_sense_is_refused_and_changes_nothing(home: Path) -> None:
    found = calibrating.fitted(model(), [])
    absurd = replace(found, after=replace(found.after, compute_factor=1e6), observations=())
    with pytest.raises(BoardError, match=r"kitchen does not fit .* emulation\.compute_factor is 1e\+06"):
        calibrating.save(profiles.load("rpi4"), absurd, "kitchen")
    assert not (home / "profiles").exists()


def test_a_profile_without_emulation_cannot_be_rewritten() -> None:
    with pytest.raises(ConfigError, match=r"emulation\.compute_factor"):
        calibration.rewritten('title = "x"\n[cpu]\n', {"compute_factor": 1.0}, "a test", "low")


def test_only_a_real_board_can_calibrate() -> None:
    class Predicted:
        name, provenance = "predicted", "predicted"

        def measure(self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: Protocol) -> list[object]:
            raise AssertionError("was asked")

    with pytest.raises(BoardError, match="only a real board"):
        calibrating.calibrate(profiles.load("rpi4"), Predicted(), [], {}, SCREEN, (1, 4))  # type: ignore[arg-type]


class Priced:
    """A board whose times are those of a cycle model: a real one, or a virtual one that is recorded."""

    is_this_machine, pairwise_error, device = False, 0.0, "rpi4"

    def __init__(self, pricing: Any, provenance: Provenance) -> None:
        self.name, self.provenance, self._pricing = "fake", provenance, pricing
        self.facts = BoardFacts(machine="aarch64", cores=4)

    def compare_with(self, control: Artifact, feeds: Feeds) -> None:
        pass

    def measure(self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: Protocol) -> list[Any]:
        results: list[Any] = []
        for artifact in artifacts:
            if artifact.candidate_key == "broken":
                results.append(CandidateFailed("it cannot be run"))
                continue
            run = counting.read(COUNTS)
            part = Counts(run.blocks, run.segments[: int(artifact.candidate_key)])
            threads = int(str(artifact.session_options["threads"]))
            results.append(Measurement(self._pricing.price(part, threads).latency))
        return results

    def __enter__(self) -> "Priced":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_board_is_measured_counted_and_fitted(tmp_path: Path) -> None:
    start = CycleModel.of(profiles.load("rpi4"), tmp_path / "prices.sqlite")
    real = Priced(replace(start, compute_factor=1.5 * start.compute_factor), "measured")
    artifacts = [(key, Artifact(key, COUNTS, key, 1)) for key in ("1", "2", "3", "broken")]
    found = calibrating.calibrate(
        profiles.load("rpi4"), real, artifacts, {}, SCREEN, (1, 4),  # type: ignore[arg-type]
        open_virtual=lambda profile, observer, pricing: Priced(pricing, "emulated"),
    )  # fmt: skip
    assert [(seen.group, seen.threads) for seen in found.observations] == [
        ("1", 1), ("1", 4), ("2", 1), ("2", 4), ("3", 1), ("3", 4),
    ]  # fmt: skip
    assert found.after.compute_factor > 1.25 * start.compute_factor, "half of the way and more"
    assert found.judged is not None


def test_a_board_that_can_run_nothing_cannot_calibrate(tmp_path: Path) -> None:
    real = Priced(CycleModel.of(profiles.load("rpi4"), tmp_path / "prices.sqlite"), "measured")
    broken = [("broken", Artifact("broken", COUNTS, "broken", 1))]
    with pytest.raises(BoardError, match="no valid measurement"):
        calibrating.calibrate(
            profiles.load("rpi4"), real, broken, {}, SCREEN, (1,),  # type: ignore[arg-type]
            open_virtual=lambda profile, observer, pricing: Priced(pricing, "emulated"),
        )  # fmt: skip


def test_what_is_priced_is_recorded(tmp_path: Path) -> None:
    recording = calibrating.Recording(CycleModel.of(profiles.load("rpi4"), tmp_path / "prices.sqlite"))
    counts = counting.read(COUNTS)
    estimate = recording.price(counts, 4)
    assert recording.last == (counts, estimate)
    assert recording.pairwise_error == recording.model.pairwise_error


def test_an_emulation_is_described_wholly_or_not_at_all(tmp_path: Path) -> None:
    whole = SHIPPED.read_text()
    lines = [line for line in whole.splitlines() if not line.startswith("dram_gbs")]
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"emulation\.dram_gbs is missing"):
        profiles.check(path)
    path.write_text(whole.replace("l2_latency_ns = { value = 14.0", "l2_latency_ns = { value = -14.0"))
    with pytest.raises(ConfigError, match=r"emulation\.l2_latency_ns must be positive"):
        profiles.check(path)
    assert math.isfinite(profiles.check(SHIPPED).get("emulation", "log_sigma"))
