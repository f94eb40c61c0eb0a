"""Every device profile that ships is complete; a new file is checked without touching a test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.boards import profiles, schema
from edgeopt.boards.roofline import Roofline
from edgeopt.core.errors import ConfigError
from edgeopt.core.profile import DeviceProfile
from edgeopt.graph.space import runtime_points
from edgeopt.resources import resource
from edgeopt.testing import devices

SHIPPED = sorted(resource("device_profiles").glob("*.toml"))
KNOWN = {
    "local", "rpi-zero2w", "rpi3b", "rpi3bplus", "rpi4", "rpi400", "rpi5", "rk3588", "orangepi5",
    "orangepi-zero3", "jetson-nano", "jetson-orin-nano", "beaglebone-ai64", "imx8mplus", "odroid-n2plus",
    "odroid-c4", "odroid-m1", "rk3566",
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "devices").mkdir(parents=True)
    return tmp_path / "home"


def test_the_promised_devices_are_there() -> None:
    assert set(profiles.names()) >= KNOWN


@pytest.mark.parametrize("check", devices.CHECKS)
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_profile_that_ships_conforms(path: Path, check: Callable[[Path], None]) -> None:
    check(path)


PEAKS = {
    "rpi-zero2w": 32, "rpi3bplus": 45, "rpi4": 48, "rpi5": 154, "rk3588": 147, "orangepi-zero3": 48,
    "jetson-nano": 46, "jetson-orin-nano": 145, "beaglebone-ai64": 32, "imx8mplus": 58, "odroid-n2plus": 77,
    "odroid-c4": 64, "rk3566": 58,
}  # fmt: skip


@pytest.mark.parametrize(("name", "gflops"), PEAKS.items())
def test_a_board_s_peak_is_its_fast_cores_times_clock_times_width(name: str, gflops: float) -> None:
    roofline = Roofline.of(profiles.load(name))
    assert roofline.peak_gflops("float32", roofline.cores) == pytest.approx(gflops, rel=0.015)


def test_what_was_taken_from_another_board_says_so_and_is_trusted_less() -> None:
    taken = [p for p in map(profiles.load, profiles.names()) if "taken from" in _source(p)]
    assert len(taken) >= 10
    for profile in taken:
        origin = profiles.load(_source(profile).removeprefix("taken from ").split(",")[0])
        assert {fact.confidence for fact in profile.facts["model"].values()} == {"low"}
        for name in ("log_sigma_fp32", "log_sigma_int8", "pairwise_error"):
            assert profile.get("model", name) > origin.get("model", name)
        if "emulation" in profile.facts:
            assert profile.get("cpu", "core") == origin.get("cpu", "core"), (
                "only the same core is priced alike"
            )
            for name in ("log_sigma", "pairwise_error"):
                assert profile.get("emulation", name) > origin.get("emulation", name)


def _source(profile: DeviceProfile) -> str:
    fact = profile.fact("model", "efficiency_fp32")
    return fact.source if fact else ""


def test_slow_cores_beside_fast_ones_are_described_apart_and_left_alone_by_default() -> None:
    profile = profiles.load("orangepi5")
    assert [profile.get(kind, "core") for kind in ("cpu", "little")] == ["Cortex-A76", "Cortex-A55"]
    assert profiles.fast_cores(profile) == 4
    assert profiles.fast_cores(profiles.load("rpi5")) is None
    threads = runtime_points(8, 4)[0]
    assert (threads.options, threads.default) == (("1", "2", "4", "8"), "4")
    threads = runtime_points(6, 4)[0]
    assert (threads.options, threads.default) == (("1", "2", "4", "6"), "4")
    assert runtime_points(4)[0].default == "4"


def test_this_machine_s_cpu_stays_unknown() -> None:
    local = profiles.load("local")
    assert "cpu" not in local.facts
    final = profiles.protocols(local)["final"]
    assert (final.processes, final.window_s) == (8, 2.5)


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


BROKEN = [
    (("[thermal]", "[heat]"), "[heat]: is not a section"),
    (("clock_ghz = {", "clock = {"), "cpu.clock: is not a fact of [cpu]; did you mean clock_ghz?"),
    (('value = 1.5, unit = "GHz"', 'value = 1500, unit = "GHz"'), "cpu.clock_ghz: is 1500 GHz: between 0.1"),
    (('value = 1.5, unit = "GHz"', 'value = 1.5, unit = "MHz"'), "cpu.clock_ghz: its unit begins with 'GHz'"),
    (("cores = { value = 4,", "cores = { value = true,"), "cpu.cores: must be a number, not True"),
    (("cores = { value = 4,", "cores = { value = 4.5,"), "cpu.cores: must be a whole number"),
    (
        ('features = { value = ["fp", "asimd", "crc32"]', 'features = { value = "fp"'),
        "cpu.features: must be a list",
    ),
    (('["fp", "asimd", "crc32"]', '["fp", "asimddp"]'), "cpu.int8_ops_per_cycle: is there exactly where"),
    (('source = "Arm Cortex-A72 TRM, MIDR_EL1"', 'source = "?"'), "cpu.part: its source must say"),
    (
        ('MIDR_EL1", confidence = "high"', 'MIDR_EL1", confidence = "sure"'),
        "cpu.part: its confidence is high",
    ),
    (
        ("soft_limit_c = { value = 80", "soft_limit_c = { value = 70"),
        "measurement.max_temperature_c: is 75, above",
    ),
    (("idle_w = { value = 1.6", "idle_w = { value = 16"), "power.idle_w: is 16, above power.stress_w"),
    (("part = {", "piece = {"), "cpu.piece: is not a fact of [cpu]"),
    (("memcpy_gbs = { value = 2.5,", "memcpy_gbs = { "), "memory.memcpy_gbs: needs exactly value, unit"),
]


@pytest.mark.parametrize(("change", "complaint"), BROKEN)
def test_what_is_wrong_with_a_profile_is_said_by_key(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    text = (resource("device_profiles") / "rpi4.toml").read_text()
    assert change[0] in text
    path = tmp_path / "broken.toml"
    path.write_text(text.replace(*change, 1))
    (found,) = [said for said in schema.problems(path) if complaint in said]
    assert found.startswith(complaint.split(":")[0])


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = (resource("device_profiles") / "rpi4.toml").read_text()
    for change, _ in (BROKEN[2], BROKEN[4], BROKEN[12]):
        text = text.replace(*change, 1)
    (tmp_path / "broken.toml").write_text(text)
    keys = [said.split(":")[0] for said in schema.problems(tmp_path / "broken.toml")]
    assert keys == ["cpu.cores", "cpu.piece", "cpu.clock_ghz"]


def test_two_kinds_of_cores_are_recognised_by_both(tmp_path: Path) -> None:
    text = (resource("device_profiles") / "orangepi5.toml").read_text()
    path = tmp_path / "x.toml"
    path.write_text(
        text.replace('["0xd0b", "0xd05"]', '["0xd0b"]').replace(
            "cores = { value = 8,", "cores = { value = 6,"
        )
    )
    assert [said.split(":")[0] for said in schema.problems(path)] == ["identity.parts", "identity.cores"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("part = ", "chip = "), r"cpu\.part is missing"),
        (("[thermal]", "[heat]"), r"thermal\.soft_limit_c is missing"),
        (("max_drift = ", "drift = "), r"measurement\.max_drift is missing"),
        (("min_runs = 64, ", ""), r"measurement\.screen needs exactly"),
        (("processes = 5, ", "processes = 5, enough_ci = 0.02, "), r"final may not have enough_ci"),
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
