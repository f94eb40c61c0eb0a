"""`edgeopt boards up|list|down`: a virtual board stays until it is taken down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeopt.boards.virtual import machine
from edgeopt.boards.virtual.running import Running
from tests.cli.conftest import Ran


@pytest.fixture(autouse=True)
def none_stays_up(folder: Path, images: Path) -> Iterator[None]:
    yield
    for board in machine.running():
        machine.down(board)


def test_a_board_goes_up_is_listed_can_be_probed_and_goes_down(
    run: Callable[..., Ran], virtual_board: Running
) -> None:
    up = run("boards", "up", "rpi4", "--json")
    assert up.code == 0, up.err
    document = up.document
    assert (document["name"], document["device"]) == ("virtual:rpi4", "rpi4")
    assert document["model"] == "Raspberry Pi 4 Model B"
    assert document["ram_bytes"] == 1 << 30
    (row,) = run("boards", "list", "--json").document["boards"]
    assert row["packages"] == document["packages"]
    assert "linux-image" in Path(row["packages"]["file"]).read_text()
    assert (row["name"], row["device"], row["url"]) == ("virtual:rpi4", "rpi4", document["url"])
    assert "virtual:rpi4" in run("boards", "list").out
    probed = run("boards", "probe", document["url"], "--json").document["facts"]
    assert probed["machine"] == "aarch64"
    for name in ("virtual:rpi4", "virtual"):
        assert run("boards", "probe", name, "--json").document["facts"]["kernel"] == probed["kernel"]
    assert run("boards", "up", "virtual:rpi4", "--json").document["pid"] == document["pid"]
    again = run("boards", "up", "rpi4")
    assert document["ssh"] in again.out
    assert run("boards", "up", "rpi4", "--json").document["pid"] == document["pid"]
    other = run("boards", "up", "rpi4", "--ram", "2G")
    assert (other.code, "is up already, with 1024 MiB" in other.err) == (2, True)
    assert run("boards", "down", "virtual", "--json").document == {"down": ["virtual:rpi4"]}
    assert run("boards", "list", "--json").document == {"boards": []}


def test_a_virtual_board_that_is_not_up_is_probed_and_gone(
    run: Callable[..., Ran], virtual_board: Running
) -> None:
    probed = run("boards", "probe", "virtual:rpi4", "--json")
    assert (probed.code, probed.document["facts"]["machine"]) == (0, "aarch64"), probed.err
    assert run("boards", "list", "--json").document == {"boards": []}


def test_which_virtual_board_to_probe_must_be_clear(run: Callable[..., Ran]) -> None:
    ran = run("boards", "probe", "virtual")
    assert (ran.code, "which virtual board? none is up" in ran.err, "virtual:rpi4" in ran.err) == (
        2,
        True,
        True,
    )


@pytest.mark.parametrize("board", ["virtual", "virtual:rpi4", "predicted"])
def test_confirm_wants_hardware(run: Callable[..., Ran], board: str) -> None:
    ran = run("confirm", "edgeopt-out", "--board", board)
    assert (ran.code, "confirm measures on hardware" in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("command", [("measure", "m.onnx", "--board"), ("boards", "probe"), ("boards", "up")])
def test_nonsense_is_told_what_can_be_emulated(run: Callable[..., Ran], command: tuple[str, ...]) -> None:
    Path("m.onnx").touch()
    ran = run(*command, "virtual:nonsense")
    assert (ran.code, "nonsense is no known device" in ran.err) == (2, True), ran.err
    assert "virtual:rpi4" in ran.err


def test_a_virtual_board_of_no_device_is_told_which_there_are(run: Callable[..., Ran]) -> None:
    Path("m.onnx").touch()
    ran = run("measure", "m.onnx", "--board", "virtual")
    assert (ran.code, "|virtual:rpi4|" in ran.err) == (2, True), ran.err


def test_what_is_not_up_cannot_go_down(run: Callable[..., Ran]) -> None:
    ran = run("boards", "down", "rpi4")
    assert (ran.code, "no virtual board rpi4 is up" in ran.err) == (2, True)
    assert run("boards", "down", "--all", "--json").document == {"down": []}


@pytest.mark.parametrize("arguments", [(), ("rpi4", "--all")])
def test_what_to_take_down_must_be_clear(run: Callable[..., Ran], arguments: tuple[str, ...]) -> None:
    ran = run("boards", "down", *arguments)
    assert (ran.code, "--all" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("rpi44",), "unknown device"),
        (("virtual",), "which device"),
        (("local",), "no kind of board"),
        (("rpi4", "--ram", "1T"), "--ram"),
        (("rpi4", "--ram", "16G"), "MiB of memory"),
        (("rpi4", "--ram", "64M"), "MiB of memory"),
        (("rpi4", "--port", "70000"), "port"),
    ],
)
def test_what_cannot_be_is_refused(run: Callable[..., Ran], arguments: tuple[str, ...], why: str) -> None:
    ran = run("boards", "up", *arguments)
    assert (ran.code, why in ran.err) == (2, True), ran.err


def test_missing_tools_are_named_with_the_line_that_installs_them(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    ran = run("boards", "up", "rpi4")
    assert ran.code == 4
    assert "qemu-system-aarch64" in ran.err
    assert "hint: sudo apt-get install -y --no-install-recommends qemu-system-arm" in ran.err
    assert len(ran.err.strip().splitlines()) == 2
