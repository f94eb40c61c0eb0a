"""Which board is meant, and that nothing weaker is taken in its place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.connect import Connected, connect
from edgeopt.boards.inventory import Inventory, NamedBoard
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError, ConfigError, ConnectError
from edgeopt.core.measurement import Protocol
from edgeopt.core.profile import DeviceProfile, Fact
from edgeopt.core.progress import Observer
from edgeopt.core.quantity import Provenance
from edgeopt.core.workload import NodeCost
from tests.boards.tiny import FEEDS, artifact, chain
from tests.sshd import Sshd, free_port

NOBODY = Inventory({})


def costs(artifact: Artifact, shapes: Mapping[str, tuple[int, ...]]) -> Sequence[NodeCost]:
    return [NodeCost("mm0", "MatMul", 2 * 256 * 256, 4 * 256 * 257, 4 * 256, "float32")]


def open_(
    device: str, board: str | None = None, known: Inventory = NOBODY, require: Provenance | None = None
) -> Connected:
    connected = connect(profiles.load(device), board, known, costs, require)
    connected.board.close()
    return connected


def inventory(*boards: NamedBoard) -> Inventory:
    return Inventory({board.name: board for board in boards})


def test_the_local_device_is_this_machine() -> None:
    for board in (None, "local"):
        connected = open_("local", board, require="measured")
        assert connected.board.name == "local"
        assert connected.board.provenance == "measured"
        assert connected.reason.startswith("board local: ")
        assert "\n" not in connected.reason


def test_where_nothing_can_be_emulated_figures_are_predicted_and_it_says_why(
    no_tools: Path,
) -> None:
    connected = open_("rpi4")
    assert connected.board.provenance == "predicted"
    assert connected.reason.startswith(
        "board predicted: no rpi4 is configured, and none can be emulated here ("
    )
    assert "qemu-system-aarch64" in connected.reason
    assert "sudo apt-get install -y --no-install-recommends qemu-system-arm" in connected.reason
    assert connected.reason.endswith("every figure comes from its profile, none is measured")


def test_require_refuses_what_is_weaker(no_tools: Path) -> None:
    for board in (None, "predicted"):
        for require in ("measured", "emulated"):
            with pytest.raises(BoardError, match="would be predicted") as refusal:
                open_("rpi4", board, require=require)
            assert refusal.value.exit_code == 4
    assert open_("rpi4", require="predicted").board.provenance == "predicted"


def test_who_is_told_which_board_it_is(no_tools: Path) -> None:
    told: list[str] = []

    class Listening(Observer):
        def announce(self, line: str) -> None:
            told.append(line)

    connected = connect(profiles.load("rpi4"), None, NOBODY, costs, observer=Listening())
    assert told == [connected.reason]


def test_a_configured_board_is_taken_and_never_replaced_when_it_is_away() -> None:
    away = NamedBoard("kitchen", "rpi4", f"ssh://127.0.0.1:{free_port()}")
    for board in (None, "kitchen"):
        with pytest.raises(ConnectError, match="Connection refused"):
            open_("rpi4", board, inventory(away))


def test_a_board_of_another_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="board kitchen is a rpi4, not a rpi5"):
        open_("rpi5", "kitchen", inventory(NamedBoard("kitchen", "rpi4", "ssh://kitchen")))


def test_unknown_and_malformed_boards_are_usage_errors() -> None:
    for board, why in (
        ("virtual:rpi5", "board virtual:rpi5 is a rpi5, not a rpi4"),
        ("bedroom", "unknown board 'bedroom'"),
        ("telnet://bedroom", "unknown transport 'telnet'"),
        ("ssh://a:b", "not the address"),
    ):
        with pytest.raises(ConfigError, match=why):
            open_("rpi4", board)


def test_nothing_can_be_predicted_for_local() -> None:
    with pytest.raises(ConfigError, match="cannot be predicted"):
        open_("local", "predicted")


def test_a_machine_that_is_not_the_device_is_refused_saying_what_differs() -> None:
    with pytest.raises(
        BoardError, match=r"local is not a rpi4: its machine is .*, expected pdp11"
    ) as refusal:
        connect(_profile("rpi4", machine="pdp11", part="0xd08"), "local", NOBODY, costs)
    assert refusal.value.exit_code == 4


def test_another_core_of_the_same_machine_is_refused() -> None:
    with pytest.raises(BoardError, match=r"its cores are .*, expected 0xfff \(made up\)"):
        connect(_profile("odd", machine=os.uname().machine, part="0xfff"), "local", NOBODY, costs)


def test_a_board_over_ssh_by_address_and_by_name(sshd: Sshd) -> None:
    assert open_("local", sshd.url).board.name == sshd.address
    named = NamedBoard("rack", "local", sshd.url)
    connected = open_("local", "rack", inventory(named))
    assert connected.board.name == "rack"
    assert connected.board.device == "local"


def test_utilization_of_the_roofline_needs_a_profile_that_knows_it(tmp_path: Path) -> None:
    screen = Protocol("screen", 1, 8, 0.05, 0.05, None, 60.0)
    model = artifact(tmp_path, chain(2))
    for profile, known in ((profiles.load("local"), False), (_roofline_of_this_machine(), True)):
        with connect(profile, "local", NOBODY, costs).board as board:
            (result,) = board.measure([model], FEEDS, screen)
        assert (result.roofline_fraction is not None) is known
        assert result.roofline_fraction is None or 0 < result.roofline_fraction <= 1


def test_utilization_of_the_roofline_is_that_of_the_shapes_measured(tmp_path: Path) -> None:
    asked: list[Mapping[str, tuple[int, ...]]] = []

    def workload(artifact: Artifact, shapes: Mapping[str, tuple[int, ...]]) -> Sequence[NodeCost]:
        asked.append(shapes)
        return costs(artifact, shapes)

    screen = Protocol("screen", 1, 8, 0.05, 0.05, None, 60.0)
    with connect(_roofline_of_this_machine(), "local", NOBODY, workload).board as board:
        board.measure([artifact(tmp_path, chain(2))], FEEDS, screen)
    assert asked == [{"x": (1, 256)}]


def _profile(name: str, **cpu: object) -> DeviceProfile:
    facts = {key: Fact(value, "", "test", "low") for key, value in {"core": "made up", **cpu}.items()}
    return DeviceProfile(name, name, {"cpu": facts})


def _roofline_of_this_machine() -> DeviceProfile:
    facts = dict(profiles.load("rpi4").facts)
    del facts["identity"]
    who = ("machine", "part", "features", "ram_bytes")
    for section in ("cpu", "memory"):
        facts[section] = {name: fact for name, fact in facts[section].items() if name not in who}
    facts["measurement"] = profiles.load("local").facts["measurement"]  # this machine is no board
    return DeviceProfile("this", "this", facts)
