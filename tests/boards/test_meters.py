"""Every power meter passes the conformance suite; and what each does with the boards' worst."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edgeopt.boards.meters import Reading, Recording, Sample, Settings, csv, hwmon, pmic
from edgeopt.core import plugins
from edgeopt.core.errors import ConfigError
from edgeopt.testing import meters as conformance


@pytest.mark.parametrize("kind", plugins.names("meters"))
@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_every_meter_conforms(kind: str, check, tmp_path: Path) -> None:
    check(plugins.load("meters", kind), tmp_path)


def test_the_meters_are_those_of_the_design() -> None:
    assert set(plugins.names("meters")) >= {"hwmon", "pmic", "rapl", "csv", "model"}


def test_the_shunt_has_no_default() -> None:
    with pytest.raises(ConfigError, match=r"needs shunt_ohm: the kernel assumes 0\.01") as refusal:
        hwmon.check(Settings("hwmon", address="1-0040"))
    assert "R100" in str(refusal.value.hint)


@pytest.mark.parametrize(
    ("kernel_uohm", "actual_ohm", "watts"),
    [("10000", 0.1, 0.5), ("100000", 0.1, 5.0), ("", 0.1, 0.5), ("", 0.01, 5.0), ("2000", "kernel", 5.0)],
)
def test_readings_are_scaled_by_assumed_over_actual(kernel_uohm: str, actual_ohm, watts: float) -> None:
    header = f'{{"name": "ina219", "kind": "power", "shunt_uohm": "{kernel_uohm}", "update_ms": ""}}'
    recording = Recording(header, (Reading(0.0, "5000000"),))
    (sample,) = hwmon.parse(recording, Settings("hwmon", address="x", shunt_ohm=actual_ohm))
    assert sample.power_w == pytest.approx(watts)


def three_channels(root: Path) -> dict[str, object]:
    example = next(example for example in hwmon.EXAMPLES if example.name == "jetson-ina3221")
    conformance.lay_out(example, root)
    return asdict(example.settings) | {"root": str(root)}


def test_a_chip_with_three_channels_needs_one_named(tmp_path: Path) -> None:
    settings = three_channels(tmp_path)
    with pytest.raises(OSError, match=r"needs channel: it has 1 VDD_IN, 2 VDD_CPU_GPU_CV, 3 VDD_SOC"):
        hwmon.reader(settings | {"channel": None})
    with pytest.raises(OSError, match="has no channel VDD_X, only 1 VDD_IN"):
        hwmon.reader(settings | {"channel": "VDD_X"})
    assert hwmon.reader(settings | {"channel": "2"})[1]() == "368 5032"


def test_a_sensor_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no hwmon sensor is 1-0041; there are: hwmon4 \(ina3221"):
        hwmon.reader(three_channels(tmp_path) | {"address": "1-0041"})


def test_a_missing_rail_makes_no_smaller_board() -> None:
    whole = pmic.EXAMPLES[0].recording.readings[0]
    without_core = Reading(1.0, whole.text.replace("VDD_CORE_A", "VDD_CORE_X"))
    assert pmic.parse(Recording("", (without_core,)), Settings("pmic")) == []
    assert len(pmic.rail_powers_w(whole.text)) == pmic.RAILS


def test_a_current_without_volts_is_refused() -> None:
    example = next(example for example in csv.EXAMPLES if example.name == "ppk2")
    with pytest.raises(ConfigError, match="holds a current and no voltage"):
        csv.parse(example.recording, replace(example.settings, volts=None))


def test_columns_that_nobody_named_are_refused() -> None:
    recording = Recording('{"names": ["a,b,c\\n"], "first": "1,2,3\\n"}', ())
    with pytest.raises(ConfigError, match="does not say which of its columns"):
        csv.parse(recording, Settings("csv", address="/x.csv"))


def test_only_what_is_written_while_measuring_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("t_s,power_w\n1.0,9.0\n")
    header, read = csv.reader({"root": str(tmp_path), "address": "/log.csv"})
    assert read() == ""
    with log.open("a") as stream:
        stream.write("2.0,3.0\n2.1,")
    first = read()
    with log.open("a") as stream:
        stream.write("3.5\n")
    readings = (Reading(50.0, first), Reading(50.1, read()))
    samples = csv.parse(Recording(header, readings), Settings("csv", address="/log.csv"))
    assert samples == [Sample(50.0, 3.0), Sample(50.1, 3.5)]
