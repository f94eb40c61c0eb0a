"""Which board a command means: nothing is opened, and nothing weaker is taken in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.inventory import Inventory, NamedBoard
from edgeopt.boards.resolve import device_of, resolve, virtual_device
from edgeopt.boards.virtual import tools
from edgeopt.core.errors import BoardError, ConfigError
from edgeopt.core.quantity import Provenance

NOBODY = Inventory({})
RPI4 = profiles.load("rpi4")
KITCHEN = Inventory({"kitchen": NamedBoard("kitchen", "rpi4", "ssh://kitchen")})


@pytest.fixture
def all_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has every tool, by name at least."""
    folder = tmp_path / "all tools"
    folder.mkdir()
    llvm = [f"{command}-{tools.LEAST_LLVM}" for command in tools.LLVM_COMMANDS]
    for command in (*tools.COMMANDS, *llvm):
        (folder / command).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(folder))
    keyring = folder / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr(tools, "KEYRING", keyring)
    return folder


def test_a_configured_board_comes_first(all_tools: Path) -> None:
    choice = resolve(RPI4, None, KITCHEN)
    assert (choice.name, choice.provenance, choice.why) == ("kitchen", "measured", "the configured rpi4")


def test_without_one_a_virtual_board_where_its_tools_are(all_tools: Path) -> None:
    for configured in (NOBODY, Inventory({"rack": NamedBoard("rack", "rpi5", "ssh://rack")})):
        choice = resolve(RPI4, None, configured)
        assert (choice.name, choice.provenance) == ("virtual:rpi4", "emulated")
        assert choice.why.startswith("no rpi4 is configured, so one is emulated")
    assert resolve(RPI4, None, NOBODY, "emulated").provenance == "emulated"


def test_without_the_tools_a_prediction_that_names_them(no_tools: Path) -> None:
    choice = resolve(RPI4, None, NOBODY)
    assert choice.provenance == "predicted"
    for missing in tools.missing():
        assert missing.command in choice.why
        assert missing.package in choice.why


def test_what_was_asked_for_by_name_is_never_replaced(no_tools: Path) -> None:
    for board in ("virtual", "virtual:rpi4"):
        with pytest.raises(BoardError, match="a virtual board needs qemu-system-aarch64") as refusal:
            resolve(RPI4, board, NOBODY)
        assert refusal.value.exit_code == 4
        assert "apt-get install" in str(refusal.value.hint)


def test_a_virtual_board_is_of_its_device(all_tools: Path) -> None:
    assert resolve(RPI4, "virtual", KITCHEN).name == "virtual:rpi4"
    assert resolve(RPI4, "virtual:rpi4", KITCHEN).name == "virtual:rpi4"
    with pytest.raises(ConfigError, match="is a rpi5, not a rpi4"):
        resolve(RPI4, "virtual:rpi5", KITCHEN)
    with pytest.raises(ConfigError, match="local cannot be emulated"):
        resolve(profiles.load("local"), "virtual", NOBODY)


def test_hardware_that_is_required_is_not_emulated(all_tools: Path) -> None:
    for board in (None, "virtual"):
        with pytest.raises(BoardError, match=r"--require measured, but .* would be emulated"):
            resolve(RPI4, board, NOBODY, "measured")
    assert resolve(RPI4, None, KITCHEN, "measured").provenance == "measured"


def test_what_is_required_is_said_how_to_get(
    all_tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hint(board: str | None, require: Provenance) -> str:
        with pytest.raises(BoardError) as refusal:
            resolve(RPI4, board, NOBODY, require)
        assert refusal.value.exit_code == 4
        return str(refusal.value.hint)

    assert hint("virtual", "measured").startswith("measure on one: edgeopt boards add")
    assert hint("predicted", "emulated") == "--board virtual, or leave --board out"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "SYSTEM_FOLDERS", str(tmp_path))
    with pytest.raises(BoardError, match="no rpi4 can be emulated here: a virtual board needs qemu"):
        resolve(RPI4, None, NOBODY, "emulated")
    for board in (None, "predicted"):
        assert "apt-get install -y --no-install-recommends qemu-system-arm" in hint(board, "emulated")
    assert "apt-get" not in hint(None, "measured")


def test_a_device_that_cannot_be_emulated_is_told_those_that_can() -> None:
    assert virtual_device("virtual:rpi4") == "rpi4"
    assert virtual_device("virtual") is virtual_device("ssh://pi") is None
    for device, why in (("nonsense", "is no known device"), ("local", "cannot be emulated")):
        with pytest.raises(ConfigError, match=f"{device} {why}") as refusal:
            virtual_device(f"virtual:{device}")
        assert "virtual:rpi4" in str(refusal.value.hint)
        assert "virtual:local" not in str(refusal.value.hint)


def test_the_device_in_the_name_of_a_virtual_board() -> None:
    named = {"virtual:rpi5": "rpi5", "virtual": None, "virtual:": None, "ssh://virtual": None, "rpi5": None}
    assert {board: device_of(board) for board in named} == named
