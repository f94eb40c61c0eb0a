"""Every device profile that ships is complete; a new file is checked without touching a test."""

from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.roofline import Roofline
from edgeopt.core.errors import ConfigError
from edgeopt.resources import resource

SHIPPED = sorted(resource("device_profiles").glob("*.toml"))
KNOWN = {"local", "rpi-zero2w", "rpi3bplus", "rpi4", "rpi5"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "devices").mkdir(parents=True)
    return tmp_path / "home"


def test_the_promised_devices_are_there() -> None:
    assert set(profiles.names()) >= KNOWN


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_profile_is_complete_and_sourced(path: Path) -> None:
    profile = profiles.check(path)
    assert profile.title
    for section, facts in profile.facts.items():
        for name, fact in facts.items():
            assert len(fact.source) > 5, f"{section}.{name} has no source"
            assert fact.unit, f"{section}.{name} has no unit"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_profile_measures_enough_for_its_percentiles(path: Path) -> None:
    stages = profiles.protocols(profiles.check(path))
    assert set(stages) == {"screen", "rank", "final"}
    assert stages["screen"].min_runs >= 64
    assert stages["rank"].min_runs >= 130
    assert stages["final"].processes >= 5
    assert stages["final"].processes * stages["final"].min_runs >= 662
    assert all(stage.slice_s <= stage.window_s < stage.deadline_s for stage in stages.values())
    assert stages["final"].stop_ratio is None, "a finalist is never given up"


@pytest.mark.parametrize("path", [p for p in SHIPPED if p.stem != "local"], ids=lambda path: path.stem)
def test_a_board_s_peak_is_its_cores_times_clock_times_width(path: Path) -> None:
    profile = profiles.check(path)
    if profile.fact("model", "efficiency_fp32") is None:
        pytest.fail(f"{path.name} was not fitted: run benchmarks/fit_predicted.py --write")
    known = {"rpi-zero2w": 32, "rpi3bplus": 45, "rpi4": 48, "rpi5": 154}
    peak = Roofline.of(profile).peak_gflops("float32", 4)
    assert peak == pytest.approx(known.get(path.stem, peak), rel=0.01)
    assert ("int8_ops_per_cycle" in profile.facts["cpu"]) == ("asimddp" in profile.get("cpu", "features"))


def test_this_machine_s_cpu_stays_unknown() -> None:
    local = profiles.load("local")
    assert "cpu" not in local.facts
    final = profiles.protocols(local)["final"]
    assert (final.processes, final.window_s) == (8, 1.5)


def test_effort_scales_windows_and_quick_takes_fewer_runs() -> None:
    quick, normal, thorough = (
        profiles.protocols(profiles.load("rpi4"), effort)["final"]
        for effort in ("quick", "normal", "thorough")
    )  # fmt: skip
    assert [p.window_s for p in (quick, normal, thorough)] == [2.5, 10.0, 20.0]
    assert quick.min_runs < normal.min_runs == thorough.min_runs
    assert thorough.deadline_s > normal.deadline_s == quick.deadline_s


def test_an_unknown_device_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="unknown device 'rpi9'") as caught:
        profiles.load("rpi9")
    assert all(name in str(caught.value.hint) for name in KNOWN)


def test_a_device_of_one_s_own_is_one_file_in_one_s_home(home: Path) -> None:
    mine = (resource("device_profiles") / "rpi4.toml").read_text().replace("Raspberry Pi 4", "My board")
    (home / "devices" / "mine.toml").write_text(mine)
    assert "mine" in profiles.names()
    assert profiles.load("mine").title.startswith("My board")


def test_one_s_own_profile_goes_before_the_shipped_one(home: Path) -> None:
    mine = (resource("device_profiles") / "rpi4.toml").read_text().replace("Raspberry Pi 4", "My board")
    (home / "devices" / "rpi4.toml").write_text(mine)
    assert profiles.load("rpi4").title.startswith("My board")


def test_a_device_can_be_given_as_a_path(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.toml"
    path.write_text((resource("device_profiles") / "rpi5.toml").read_text())
    assert profiles.load(str(path)).name == "elsewhere"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("part = ", "chip = "), r"cpu\.part is missing"),
        (("[thermal]", "[heat]"), r"thermal\.soft_limit_c is missing"),
        (("max_drift = ", "drift = "), r"measurement\.max_drift is missing"),
        (("min_runs = 64, ", ""), r"measurement\.screen needs exactly"),
        (("min_runs = 64", "min_runs = 0"), r"min_runs must be a positive number"),
        (("clock_ghz = { value = 1.5", "clock_ghz = { value = -1.5"), r"cpu\.clock_ghz must be positive"),
        (('clock_ghz = { value = 1.5', 'clock_ghz = { value = "fast"'), r"cpu\.clock_ghz must be positive"),
    ],
)  # fmt: skip
def test_a_profile_that_lacks_something_is_refused_by_name(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    text = (resource("device_profiles") / "rpi4.toml").read_text()
    assert change[0] in text
    path = tmp_path / "broken.toml"
    path.write_text(text.replace(*change, 1))
    with pytest.raises(ConfigError, match=complaint):
        profiles.check(path)
