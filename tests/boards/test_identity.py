"""Whether a board is what a profile describes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.board import BoardFacts
from edgeopt.boards.checks import checks
from edgeopt.boards.facts import probed, stated
from edgeopt.boards.identity import STATE_IT, accepting, differences, require_identity
from edgeopt.core.errors import BoardError, ConfigError
from edgeopt.resources import resource
from tests.boards.recorded import found, outputs

PI4 = BoardFacts(
    machine="aarch64",
    cores=4,
    model="Raspberry Pi 4 Model B Rev 1.4",
    compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
    core_parts=("0xd08",) * 4,
    features=("asimd", "cpuid", "crc32", "evtstrm", "fp"),
    ram_bytes=3885396 * 1024,
    userland_bits=64,
)
ZERO = replace(PI4, model="Raspberry Pi Zero 2 W Rev 1.0", core_parts=("0xd03",) * 4, ram_bytes=425968 * 1024)


def told(device: str, found: BoardFacts) -> list[str]:
    return [str(difference) for difference in differences(profiles.load(device), found)]


@pytest.mark.parametrize("model", ["Raspberry Pi 400 Rev 1.0", "Raspberry Pi Compute Module 4 Rev 1.1"])
def test_one_family_is_one_device(model: str) -> None:
    assert told("rpi4", replace(PI4, model=model)) == []
    own = ["rpi400"] if "400" in model else []
    assert accepting(replace(PI4, model=model)) == ["local", "rpi4", *own]


def test_boards_that_share_a_core_are_told_apart_and_each_difference_is_named() -> None:
    assert told("rpi-zero2w", ZERO) == []
    assert told("rpi3bplus", ZERO) == [
        "its model is Raspberry Pi Zero 2 W Rev 1.0, expected Raspberry Pi 3 Model B Plus* or "
        "Raspberry Pi 3 Model B+*",
        "its memory is 0.41 GiB, expected 1 GiB",
    ]
    with pytest.raises(BoardError, match=r"kitchen is not a rpi3bplus: its model is .*; its memory is") as no:
        require_identity(profiles.load("rpi3bplus"), ZERO, "kitchen")
    assert (no.value.exit_code, str(no.value.hint).split(",")[0]) == (4, "use --device rpi-zero2w")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"machine": "armv7l"}, "its machine is armv7l, expected aarch64"),
        ({"core_parts": ("0xd03",) * 4}, "its cores are 0xd03, expected 0xd08 (Cortex-A72)"),
        ({"core_parts": ("0xd08", "0xd03")}, "its cores are 0xd03, 0xd08, expected 0xd08 (Cortex-A72)"),
        ({"core_parts": ()}, "its cores are unknown, expected 0xd08 (Cortex-A72)"),
        ({"core_parts": ("0xd08",) * 6}, "its core count is 6, expected 4"),
        (
            {"features": ("fp",)},
            "its ISA flags are without asimd, crc32, expected with",
        ),
        ({"ram_bytes": 16 << 30}, "its memory is 16.00 GiB, expected 1, 2, 4 or 8 GiB"),
        (
            {"model": None},
            "its model is unknown (no device tree: a container hides it), expected Raspberry Pi 4 Model B*, ",
        ),
        ({"userland_bits": 32}, "its userland is 32-bit (the kernel is aarch64), expected 64-bit"),
    ],
)
def test_each_fact_is_compared(changed: dict[str, object], why: str) -> None:
    (said,) = told("rpi4", replace(PI4, **changed))  # type: ignore[arg-type]
    assert said.startswith(why)


CONTAINER = found("container-on-rpi4")
PI = "Raspberry Pi 4 Model B Rev 1.4"


def test_a_container_that_hides_the_device_tree_is_refused_for_that_alone_and_told_what_to_do() -> None:
    with pytest.raises(BoardError, match="kitchen cannot be told to be a rpi4: its model is unknown") as no:
        require_identity(profiles.load("rpi4"), probed(CONTAINER), "kitchen")
    assert len(differences(profiles.load("rpi4"), probed(CONTAINER))) == 1
    assert "systempaths=unconfined" in str(no.value.hint)
    assert "model = " in str(no.value.hint)
    with pytest.raises(BoardError, match=r"kitchen is not a rpi5: its model is unknown.*; its cores") as no:
        require_identity(profiles.load("rpi5"), probed(CONTAINER), "kitchen")
    assert "model = " not in str(no.value.hint)  # what it is said to be would not help
    (doctor,) = [one for one in checks(CONTAINER, profiles.load("rpi4"), 0.0) if one.name == "identity"]
    assert (doctor.verdict, doctor.fix) == ("fail", STATE_IT)


def test_what_a_container_is_said_to_be_is_believed_where_all_else_fits() -> None:
    said = probed(stated(CONTAINER, PI))
    assert (said.model, told("rpi4", said)) == (PI, [])
    another = probed(stated(CONTAINER, "Raspberry Pi 5 Model B"))
    assert [why.split()[1] for why in told("rpi4", another)] == ["model"]
    assert told("rpi5", another)[0] == "its cores are 0xd08, expected 0xd0b (Cortex-A76)"


def test_a_board_that_tells_what_it_is_is_not_overruled() -> None:
    assert probed(stated(found("rpi3bplus"), PI)).model == probed(found("rpi3bplus")).model != PI
    its_kernels = found(
        "container-on-rpi4", cpuinfo=outputs("container-on-rpi4")["cpuinfo"] + f"Model\t\t: {PI}\n"
    )
    assert told("rpi4", probed(its_kernels)) == []  # the Raspberry Pi's kernel tells it there, too
    assert probed(stated(its_kernels, "Raspberry Pi 5 Model B")).model == PI
    assert probed(found("x86-64-pc")).model == probed(stated(found("x86-64-pc"), PI)).model


def test_fewer_cores_online_and_unknown_memory_are_no_other_device() -> None:
    assert told("rpi4", replace(PI4, core_parts=("0xd08",) * 2, ram_bytes=None)) == []


def test_a_virtual_board_has_the_memory_that_it_was_given() -> None:
    small = replace(
        PI4, model="Raspberry Pi 4 Model B", compatible=("linux,dummy-virt",), ram_bytes=200 << 20, cores=1
    )
    assert told("rpi4", small) == []


def test_a_32_bit_userland_is_answered_with_the_64_bit_image() -> None:
    with pytest.raises(BoardError, match="cannot be used as a rpi4: its userland is 32-bit") as refusal:
        require_identity(profiles.load("rpi4"), replace(PI4, userland_bits=32), "kitchen")
    assert "64-bit image" in str(refusal.value.hint)


def test_two_kinds_of_cores_and_a_whole_soc(tmp_path: Path) -> None:
    identity = """
[identity]
compatible = { value = ["rockchip,rk3588s"], unit = "text", source = "a test", confidence = "low" }
parts = { value = ["0xd05", "0xd08"], unit = "text", source = "a test", confidence = "low" }
cores = { value = 8, unit = "cores", source = "a test", confidence = "low" }
"""
    profile = profiles.check(_without_identity(tmp_path, identity))
    both = replace(
        PI4, compatible=("xunlong,orangepi-5", "rockchip,rk3588s"), core_parts=("0xd05", "0xd08") * 4
    )
    assert differences(profile, both) == []
    assert differences(profile, replace(both, core_parts=("0xd08",) * 4)) == []
    for other in (replace(both, core_parts=("0xd05",)), replace(both, compatible=("rockchip,rk3566",))):
        assert len(differences(profile, other)) == 1


@pytest.mark.parametrize(
    ("fact", "why"),
    [
        ('model = ["x"]', "identity.model is not one of models, compatible, parts, cores"),
        ('models = "x"', "identity.models must be a list of text"),
        ('models = [""]', "identity.models must be a list of text"),
        ("cores = 0", "identity.cores must be a number of cores"),
        ("cores = 1.5", "identity.cores must be a number of cores"),
        ('parts = ["0xd03"]', "identity.parts lacks cpu.part, which is 0xd08"),
        ('parts = ["0xd08", "A53"]', "'A53' is no CPU part"),
    ],
)
def test_an_identity_that_makes_no_sense_is_refused(fact: str, why: str, tmp_path: Path) -> None:
    name, _, value = fact.partition(" = ")
    written = f'{name} = {{ value = {value}, unit = "u", source = "a test", confidence = "low" }}'
    with pytest.raises(ConfigError, match=why):
        profiles.check(_without_identity(tmp_path, f"\n[identity]\n{written}\n"))


def _without_identity(folder: Path, instead: str) -> Path:
    text = (resource("device_profiles") / "rpi4.toml").read_text()
    before, _, rest = text.partition("\n[identity]")
    _, _, after = rest.partition("\n[cache]")
    file = folder / "mine.toml"
    file.write_text(f"{before}{instead}\n[cache]{after}")
    return file
