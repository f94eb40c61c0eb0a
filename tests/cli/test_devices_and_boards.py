from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.resources import resource
from tests.cli.conftest import Ran


def test_devices_are_listed(run: Callable[..., Ran]) -> None:
    names = [row["name"] for row in run("devices", "list", "--json").document["devices"]]
    assert {"local", "rpi-zero2w", "rpi3bplus", "rpi4", "rpi5"} <= set(names)
    assert "Raspberry Pi 4" in run("devices", "list").out
    assert len(names) >= 15
    assert "4× Cortex-A76 + 4× Cortex-A55" in run("devices", "list").out


def test_a_device_shows_facts_with_sources(run: Callable[..., Ran]) -> None:
    fact = run("devices", "show", "rpi4", "--json").document["facts"]["cpu"]["core"]
    assert fact["value"] == "Cortex-A72"
    assert fact["source"]
    assert fact["confidence"] in ("high", "medium", "low")
    assert "Cortex-A72" in run("devices", "show", "rpi4").out


def test_a_good_profile_passes_and_a_bad_one_is_named(run: Callable[..., Ran], folder: Path) -> None:
    good = folder / "mine.toml"
    good.write_text((resource("device_profiles") / "rpi4.toml").read_text())
    assert run("devices", "check", good).code == 0
    good.write_text('title = "x"\n[cpu]\ncores = 4\n')
    ran = run("devices", "check", good)
    assert ran.code == 2
    assert "cpu.cores: needs exactly value, unit, source and confidence" in ran.err
    assert "cpu.cores" in run("devices", "check", good, "--json").document["error"]["message"]


def test_boards_are_added_and_listed(run: Callable[..., Ran]) -> None:
    assert run("boards", "list", "--json").document == {"boards": []}
    added = run("boards", "add", "kitchen", "ssh://pi@10.0.0.7", "--device", "rpi4", "--json").document
    assert Path(added["file"]).name == "boards.toml"
    rows = run("boards", "list", "--json").document["boards"]
    assert [(row["name"], row["device"], row["url"]) for row in rows] == [
        ("kitchen", "rpi4", "ssh://pi@10.0.0.7")
    ]
    assert "kitchen" in run("boards", "list").out


def test_a_board_of_an_unknown_device_is_refused(run: Callable[..., Ran]) -> None:
    ran = run("boards", "add", "kitchen", "ssh://pi@10.0.0.7", "--device", "rpi44")
    assert (ran.code, "unknown device" in ran.err) == (2, True)


def test_this_machine_can_be_probed(run: Callable[..., Ran]) -> None:
    facts = run("boards", "probe", "local", "--json").document["facts"]
    assert facts["cores"] >= 1
    assert facts["machine"]


def test_an_address_without_host_keys_cannot_be_enrolled(run: Callable[..., Ran]) -> None:
    assert run("boards", "enroll", "local").code == 2


def test_doctor_names_versions_and_devices(run: Callable[..., Ran]) -> None:
    document = run("doctor", "--json").document
    assert document["packages"]["onnxruntime"]
    assert "rpi4" in document["devices"]
    assert run("doctor").code == 0


def test_doctor_names_what_virtual_boards_lack(run: Callable[..., Ran], no_tools: Path) -> None:
    ran = run("doctor", "--json")
    assert (ran.code, ran.document["virtual_boards"]) == (0, False)
    remark = next(line for line in ran.document["remarks"] if "virtual boards" in line)
    assert "qemu-system-aarch64" in remark
    assert "apt-get install qemu-system-arm" in remark
    assert ran.document["packages"]["onnxruntime"]
    assert "tools are missing" in run("doctor").out


def test_rewrites_are_listed_with_what_they_do(run: Callable[..., Ran]) -> None:
    document = run("rewrites", "list", "--json").document
    assert {"fold_constants", "fold_batchnorm"} <= {row["name"] for row in document["rewrites"]}
    assert "int8_static_channel" in {row["name"] for row in document["precision"]}
    assert all(row["summary"] for family in document.values() for row in family)


def test_a_board_of_the_project_is_added_and_removed(run: Callable[..., Ran], folder: Path) -> None:
    command = ("boards", "add", "rack", "ssh://pi@10.0.0.8", "--device", "rpi5", "--project")
    assert Path(run(*command, "--json").document["file"]).resolve() == (folder / "boards.toml").resolve()
    again = run(*command)
    assert (again.code, "already" in again.err, "boards remove rack" in again.err) == (2, True, True)
    assert run("boards", "remove", "rack").code == 0
    assert run("boards", "list", "--json").document == {"boards": []}
    assert run("boards", "remove", "rack").code == 2


def test_a_probe_lists_features_with_what_they_need(run: Callable[..., Ran]) -> None:
    document = run("boards", "probe", "local", "--json").document
    assert {"throttle bits", "perf counters", "hwmon meters", "RAPL", "memory cgroup"} <= {
        feature["name"] for feature in document["features"]
    }
    for feature in document["features"]:
        assert set(feature) == {"name", "available", "found", "needs", "lost"}
    assert "local" in document["devices"]
    shown = run("boards", "probe", "local").out
    assert "lost without it" in shown
    assert "can be used as: local" in shown


def test_a_recording_for_tests_can_be_made(run: Callable[..., Ran]) -> None:
    from edgeopt.boards.probes import PROBES

    recorded = run("boards", "probe", "local", "--raw", "--json").document
    assert recorded["how"] == "recorded"
    assert set(recorded["outputs"]) == set(PROBES)


def test_the_doctor_walks_through_a_board(run: Callable[..., Ran]) -> None:
    ran = run("boards", "doctor", "local", "--json")
    assert (ran.code, ran.document["can_measure"], ran.document["device"]) == (0, True, "local")
    for check in ran.document["checks"]:
        assert set(check) == {"name", "verdict", "found", "why", "fix"}
        assert check["verdict"] in ("ok", "warn")
    assert "local can measure" in run("boards", "doctor", "local").out


def test_the_doctor_ends_with_4_where_nothing_can_be_measured(run: Callable[..., Ran]) -> None:
    ran = run("boards", "doctor", "local", "--device", "rpi4", "--json")
    assert (ran.code, ran.document["can_measure"]) == (4, False)
    (failed,) = [check for check in ran.document["checks"] if check["verdict"] == "fail"]
    assert failed["name"] == "identity"
    assert "expected" in failed["found"]
    assert "local cannot measure" in run("boards", "doctor", "local", "--device", "rpi4").out


@pytest.mark.parametrize(
    ("file", "words"), [(".", ". is a folder, a profile is a .toml file"), ("rpi4", "rpi4 does not exist")]
)
def test_what_is_no_profile_is_not_taken_for_a_model(run: Callable[..., Ran], file: str, words: str) -> None:
    ran = run("devices", "check", file)
    assert ran.code == 2
    assert ran.err.splitlines() == [f"error: {words}", "hint: edgeopt devices check my-board.toml"]
