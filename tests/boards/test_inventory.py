"""boards.toml."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgeopt.boards.address import Address
from edgeopt.boards.inventory import Inventory, NamedBoard, add, project_file, remove
from edgeopt.boards.meters import Settings
from edgeopt.core.errors import ConfigError


def test_a_board_that_was_added_is_there(home: Path) -> None:
    first = NamedBoard("kitchen-pi", "rpi4", "ssh://pi@10.0.0.7", "/venv/bin/python", "~/.ssh/board")
    file = add(first)
    add(NamedBoard("rack.3", "rpi5", "ssh://rack", model="Raspberry Pi 5"))
    assert file == home / ".config" / "edgeopt" / "boards.toml"
    inventory = Inventory.load()
    assert list(inventory.boards) == ["kitchen-pi", "rack.3"]
    assert inventory.get("kitchen-pi").address == Address(
        "ssh", "10.0.0.7", "pi", None, "/venv/bin/python", home / ".ssh" / "board"
    )
    assert [board.name for board in inventory.of_device("rpi5")] == ["rack.3"]
    assert inventory.get("rack.3").address == Address("ssh", "rack", model="Raspberry Pi 5")
    assert [path.name for path in file.parent.iterdir() if path.is_file()] == ["boards.toml"]


def test_adding_keeps_what_the_user_wrote(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "boards.toml"
    file.write_text('# mine\n[board.a]\ndevice = "rpi4" # old\nurl = "ssh://a"')
    add(NamedBoard("b", "rpi4", 'ssh://b?identity=/we"ird'), file)
    assert file.read_text().startswith('# mine\n[board.a]\ndevice = "rpi4" # old')
    assert set(tomllib.loads(file.read_text())["board"]) == {"a", "b"}


def test_the_working_folders_boards_win(tmp_path: Path) -> None:
    add(NamedBoard("a", "rpi4", "ssh://home"))
    add(NamedBoard("a", "rpi4", "ssh://project"), tmp_path / "boards.toml")
    assert Inventory.load(tmp_path).get("a").url == "ssh://project"
    assert Inventory.load(tmp_path).get("a").source == tmp_path / "boards.toml"


def test_boards_are_found_by_group(tmp_path: Path) -> None:
    add(NamedBoard("a", "rpi4", "ssh://a", groups=("kitchens", "north"), field_root="/data/edgeopt"))
    add(NamedBoard("b", "rpi5", "ssh://b"))
    add(NamedBoard("c", "rpi4", "ssh://c", groups=("kitchens",)))
    inventory = Inventory.load(tmp_path)
    assert [board.name for board in inventory.of_group("kitchens")] == ["a", "c"]
    assert inventory.get("a").field_root == "/data/edgeopt"
    assert inventory.get("b").groups == ()
    with pytest.raises(ConfigError, match="'cellars'") as refusal:
        inventory.of_group("cellars")
    assert "kitchens, north" in str(refusal.value.hint)


def test_without_files_there_are_no_boards(tmp_path: Path) -> None:
    inventory = Inventory.load(tmp_path)
    assert inventory.boards == {}
    with pytest.raises(ConfigError, match="unknown board 'x'") as refusal:
        inventory.get("x")
    assert "local, virtual, predicted" in str(refusal.value.hint)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[board", "cannot read"),
        ("[boards.a]\n", "nothing but"),
        ("board = 1", "nothing but"),
        ("[board]\na = 1", "'a' has no device and has no url"),
        ('[board.a]\ndevice = "rpi4"', "'a' has no url"),
        ('[board.a]\ndevice = "rpi4"\nurl = "ssh://a"\nport = 1', "'a' has an unknown key 'port'"),
        ('[board.a]\ndevice = "rpi4"\nurl = 7', "url must be text"),
        ('[board.a]\ndevice = "rpi4"\nurl = "ssh://a"\ngroups = "x"', "groups must be a list"),
        ('[board.a]\ndevice = "rpi4"\nurl = "ssh://a:b"', "not the address"),
        ('[board.a]\ndevice = "rpi4"\nurl = "notaurl"', "'notaurl' is not the address"),
        ('[board.local]\ndevice = "rpi4"\nurl = "ssh://a"', "cannot be the name"),
        ('[board."a b"]\ndevice = "rpi4"\nurl = "ssh://a"', "cannot be the name"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text(text)
    with pytest.raises(ConfigError, match=why) as refusal:
        Inventory.load(tmp_path)
    assert "boards.toml" in refusal.value.message


def test_a_name_is_not_taken_twice() -> None:
    add(NamedBoard("a", "rpi4", "ssh://a"))
    with pytest.raises(ConfigError, match="already"):
        add(NamedBoard("a", "rpi5", "ssh://b"))


def test_an_address_that_leads_nowhere_is_not_stored(home: Path) -> None:
    with pytest.raises(ConfigError, match="'notaurl' is not the address of a board") as refusal:
        add(NamedBoard("y", "rpi4", "notaurl"))
    assert (refusal.value.exit_code, Inventory.load().boards) == (2, {})


def test_a_board_is_taken_out_and_what_the_user_wrote_stays(tmp_path: Path) -> None:
    file = tmp_path / "boards.toml"
    kept = '# mine\n[board.a]\ndevice = "rpi4" # old\nurl = "ssh://a"\n\n[board.ab]\ndevice = "rpi5"\nurl = "ssh://c"\n'
    file.write_text(f'{kept}\n[board."a.b"]\ndevice = "rpi4"\nurl = "ssh://b"\n')
    assert remove(Inventory.load(tmp_path).get("a.b")) == file
    assert file.read_text().rstrip() == kept.rstrip()
    remove(Inventory.load(tmp_path).get("a"))
    assert list(Inventory.load(tmp_path).boards) == ["ab"]


def test_what_only_its_author_should_change_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "boards.toml"
    file.write_text('board.a = { device = "rpi4", url = "ssh://a" }\n')
    with pytest.raises(ConfigError, match="cannot take board 'a' out of") as refusal:
        remove(Inventory.load(tmp_path).get("a"))
    assert refusal.value.hint == "edit the file"
    assert "ssh://a" in file.read_text()


def test_a_name_that_the_working_folder_would_hide_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    add(NamedBoard("a", "rpi4", "ssh://project"), project_file())
    with pytest.raises(ConfigError, match="which would hide this one"):
        add(NamedBoard("a", "rpi4", "ssh://home"))


def test_boards_that_are_added_at_once_are_all_there(home: Path) -> None:
    program = (
        "import sys; from edgeopt.boards.inventory import NamedBoard, add; "
        "[add(NamedBoard(f'{sys.argv[1]}-{n}', 'rpi4', 'ssh://x')) for n in range(10)]"
    )
    adding = [subprocess.Popen([sys.executable, "-c", program, name]) for name in "abc"]
    assert [process.wait() for process in adding] == [0, 0, 0]
    assert len(Inventory.load().boards) == 30


def test_a_boards_meter_goes_with_it(tmp_path: Path) -> None:
    file = tmp_path / "boards.toml"
    meter = '[board.a.meter]\nkind = "hwmon"\naddress = "hwmon1"\nshunt_ohm = 0.1\n'
    file.write_text(
        f'[board.a]\ndevice = "rpi4"\nurl = "ssh://a"\n{meter}[board.b]\ndevice = "rpi4"\nurl = "ssh://b"\n'
    )
    remove(Inventory.load(tmp_path).get("a"))
    assert file.read_text() == '[board.b]\ndevice = "rpi4"\nurl = "ssh://b"\n'


METER = '[board.a]\ndevice = "rpi4"\nurl = "ssh://a"\n[board.a.meter]\n'


def test_a_board_has_a_meter(tmp_path: Path) -> None:
    text = METER + 'kind = "hwmon"\nhost = "ssh://lab"\naddress = "1-0040"\nshunt_ohm = 0.1\nchannel = 2\n'
    (tmp_path / "boards.toml").write_text(text)
    meter = Inventory.load(tmp_path).get("a").meter
    assert meter == Settings("hwmon", "ssh://lab", "1-0040", 0.1, "2")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a meter needs its kind"),
        ('kind = "wattson"', "unknown meter 'wattson'"),
        ('kind = "pmic"\nshunt_ohm = 0.1', "a pmic meter has no shunt_ohm"),
        ('kind = "hwmon"\naddress = "1-0040"', "needs shunt_ohm"),
        ('kind = "hwmon"\nshunt_ohm = 0.1', "needs address"),
        ('kind = "hwmon"\naddress = "1-0040"\nshunt_ohm = 0', "shunt_ohm must be a resistance"),
        ('kind = "hwmon"\naddress = "1-0040"\nshunt_ohm = "R100"', "shunt_ohm must be a resistance"),
        ('kind = "hwmon"\naddress = 7\nshunt_ohm = 0.1', "address must be text"),
        ('kind = "csv"\naddress = "/x"\nvolts = "5"', "volts must be a positive number"),
    ],
)
def test_a_wrong_meter_is_refused_with_its_board(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text(METER + text)
    with pytest.raises(ConfigError, match=why):
        Inventory.load(tmp_path)
