"""`edgeopt package`, `verify` and `keys` as they are typed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.field import made

Run = Callable[..., Ran]


@pytest.fixture
def out(folder: Path) -> Path:
    return made.study(folder / "out")


@pytest.fixture
def key(run: Run, folder: Path) -> Path:
    ran = run("keys", "new", folder / "keys")
    assert ran.code == 0, ran.err
    assert "not encrypted" in ran.out
    return folder / "keys" / "edgeopt.key"


def test_from_a_study_to_a_package_that_is_genuine(run: Run, out: Path, key: Path, folder: Path) -> None:
    packed = run("package", out, "-o", "m.edgepkg", "--key", key, "--json")
    assert packed.code == 0, packed.err
    document = packed.document
    assert document["package"] == str(folder / "m.edgepkg")
    assert (document["product"], document["counter"]) == ("net", int(made.CREATED.strftime("%Y%m%d%H%M%S")))
    assert document["size_bytes"] == (folder / "m.edgepkg").stat().st_size
    assert [variant["name"] for variant in document["variants"]] == ["rpi4"]
    verified = run("verify", "m.edgepkg", "--trust", "keys", "--json")
    assert verified.code == 0, verified.err
    assert verified.document["genuine"] is True
    assert (verified.document["product"], verified.document["root_version"]) == ("net", 1)
    assert [check["check"] for check in verified.document["checks"]][:3] == ["form", "roots", "signatures"]
    assert verified.err == ""


def test_people_are_told_each_check(run: Run, out: Path, key: Path) -> None:
    packed = run("package", out, "--key", key, "--product", "doorbell", "--counter", 3)
    assert packed.code == 0, packed.err
    assert "doorbell 3, may be installed until" in packed.out
    assert "rpi4: 1.5 ms measured (sustained); onnxruntime >=1.16,<2 on aarch64, x86_64" in packed.out
    ran = run("verify", "doorbell.edgepkg", "--trust", key.parent / "root.pub.json")
    assert ran.code == 0
    assert re.findall(r"^ok  (\w+): ", ran.err, re.MULTILINE) == [
        "form", "roots", "signatures", "age", "files", "manifest",
    ]  # fmt: skip
    assert ran.out == "doorbell.edgepkg is genuine: doorbell 3\n"


def test_a_package_that_was_changed_is_exit_6_and_says_where(
    run: Run, out: Path, key: Path, folder: Path
) -> None:
    run("package", out, "-o", "m.edgepkg", "--key", key)
    content = bytearray((folder / "m.edgepkg").read_bytes())
    content[content.index(b"<p>report</p>")] ^= 1
    (folder / "m.edgepkg").write_bytes(content)
    ran = run("verify", "m.edgepkg", "--trust", "keys", "--json")
    assert ran.code == 6
    assert ran.document["error"]["kind"] == "package"
    assert "evidence/rpi4/report.html was changed" in ran.document["error"]["message"]
    assert len(ran.err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("flags", "code", "why"),
    [
        (("--product", "oven"), 6, "it is of product net, not of oven"),
        (("--device", "rpi5"), 6, "it is for rpi4, not for rpi5"),
        (("--above", 99999999999999), 6, "a downgrade"),
        (("--product", "net", "--device", "rpi4", "--above", 1), 0, ""),
    ],
)
def test_what_is_asked_of_a_package(
    flags: tuple[object, ...], code: int, why: str, run: Run, out: Path, key: Path
) -> None:
    run("package", out, "-o", "m.edgepkg", "--key", key)
    ran = run("verify", "m.edgepkg", "--trust", "keys", *flags)
    assert (ran.code, why in ran.err) == (code, True)


def test_wrong_usage_is_exit_2(run: Run, out: Path, key: Path, folder: Path) -> None:
    (folder / "other").mkdir()
    made.keyring(folder / "elsewhere")
    for arguments, why in (
        (("package", "nothing", "--key", key), "no best.json in nothing"),
        (("package", out, "--key", "nothing"), "cannot read the key"),
        (("package", out, "--key", key, "--trust", "other"), "nothing to trust"),
        (("package", out, "--key", key, "--trust", "elsewhere"), "may not sign packages"),
        (("package", out, "--key", "pkcs11:token=a"), None),
        (("package", out, "--key", key, "--expires", "soon"), "is not a time"),
        (("package", out, "--key", key, "--expires", "2020-01-01"), "would have expired"),
        (("package", out, "--key", key, "--product", "a/b"), "cannot be the name"),
        (("package", out, f"{out}=rpi4", "--key", key), "two variants are called rpi4"),
        (("package", out), "missing option"),
        (("verify", "nothing", "--trust", "keys"), "no such package"),
        (("verify", key, "--trust", "other"), "nothing to trust"),
        (("keys", "new", key.parent), "is not empty"),
        (("keys", "new", "more", "--role", "boss"), "not understood"),
        (("keys", "new", "more", "--role", "root", "--role", "root=1/2"), "was given twice"),
        (("keys", "new", "more", "--public", "targets"), "not understood"),
        (("keys", "rotate", key.parent, "--role", "boss"), "unknown role"),
        (("keys", "rotate", "nothing"), "no such folder"),
        (("keys", "revoke", key.parent, "nobody"), "no key 'nobody'"),
        (("keys", "list", "other"), "nothing to trust"),
    ):
        ran = run(*arguments)
        assert ran.code == 2, (arguments, ran.err)
        assert why is None or why in ran.err, (arguments, ran.err)
        assert "Traceback" not in ran.err
    assert not list(folder.glob("*.edgepkg"))


def test_what_was_not_measured_is_exit_3_unless_a_flag_takes_it(run: Run, folder: Path, key: Path) -> None:
    made.study(folder / "e", best={"provenance": "emulated"}, accuracy={"status": "not established"})
    ran = run("package", "e", "-o", "m.edgepkg", "--key", key, "--json")
    assert (ran.code, ran.document["error"]["kind"]) == (3, "evidence")
    ran = run("package", "e", "-o", "m.edgepkg", "--key", key, "--allow-emulated")
    assert (ran.code, "--allow-unestablished" in ran.err) == (3, True)
    ran = run("package", "e", "-o", "m.edgepkg", "--key", key, "--allow-emulated", "--allow-unestablished")
    assert ran.code == 0, ran.err
    assert "note: the promised figures are emulated" in ran.out


def test_several_studies_are_variants_of_one_package(run: Run, out: Path, folder: Path, key: Path) -> None:
    made.study(folder / "second", seed=4, device="rpi5", latency_ms={"p50": 0.5})
    ran = run("package", out, "second=fast", "-o", "m.edgepkg", "--key", key, "--json")
    assert ran.code == 0, ran.err
    assert [(v["name"], v["device"]) for v in ran.document["variants"]] == [
        ("fast", "rpi5"),
        ("rpi4", "rpi4"),
    ]
    assert run("verify", "m.edgepkg", "--trust", "keys", "--device", "rpi5").code == 0


def test_the_time_of_the_first_build_makes_the_same_package(
    run: Run, out: Path, key: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = int(made.CREATED.timestamp()) + 60
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(epoch))
    for name in ("one", "other"):
        assert run("package", out, "-o", name, "--key", key, "--expires", "90d").code == 0
    assert (folder / "one").read_bytes() == (folder / "other").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert run("package", out, "-o", "third", "--key", key).code == 2


def test_keys_are_rotated_revoked_and_listed(run: Run, folder: Path) -> None:
    (folder / "pass").write_text("open sesame\n")
    secret = ("--passphrase-file", "pass")
    ran = run(
        "keys", "new", "k", "--role", "root=2/3", "--role", "targets=1/2", "--algorithm", "ecdsa", *secret
    )
    assert ran.code == 0, ran.err
    assert "not encrypted" not in ran.out
    assert b"ENCRYPTED" in (folder / "k" / "root-1.key").read_bytes()
    ran = run("keys", "rotate", "k", "--role", "targets")
    assert (ran.code, "is encrypted" in ran.err) == (2, True)
    ran = run("keys", "rotate", "k", "--role", "targets", *secret, "--json")
    assert (ran.code, ran.document["root_version"]) == (0, 2), ran.err
    ran = run("keys", "revoke", "k", "targets-3", *secret)
    assert ran.code == 0, ran.err
    assert "root version 3" in ran.out
    listed = run("keys", "list", "k")
    assert listed.code == 0
    assert "targets: 1 of 1" in listed.out
    assert len(re.findall("revoked in root version 2", listed.out)) == 2
    (folder / "away").mkdir()
    for number in (1, 2):
        (folder / "k" / f"root-{number}.key").rename(folder / "away" / f"root-{number}.key")
    ran = run("keys", "rotate", "k", *secret)
    assert (ran.code, "1 of the 2 keys that role root needs" in ran.err) == (6, True)
    assert "elsewhere" in run("keys", "list", "k").out
    ran = run("keys", "rotate", "k", "--key", "away/root-2.key", *secret, "--json")
    assert (ran.code, ran.document["root_version"]) == (0, 4), ran.err


def test_a_study_of_an_older_edgeopt_is_to_be_repeated(run: Run, folder: Path, key: Path) -> None:
    made.study(folder / "old", deployment=None)
    ran = run("package", "old", "--key", key)
    assert (ran.code, "repeat its edgeopt optimize command" in ran.err) == (2, True)


def test_it_is_wrapped_for_another_update_system_or_says_what_is_missing(
    run: Run, out: Path, key: Path, folder: Path
) -> None:
    command = ("package", out, "--key", key, "-o", "net.mender", "--format", "mender")
    ran = run(*command, "--device-type", "raspberrypi4", "--json")
    if shutil.which("mender-artifact"):
        assert ran.code == 0, ran.err
        assert ran.document["package"] == str(folder / "net.mender")
        assert ran.document["size_bytes"] == (folder / "net.mender").stat().st_size
    else:
        assert ran.code == 1
        assert "apt-get install mender-artifact" in ran.document["error"]["hint"]
        assert not (folder / "net.mender").exists()
    assert run(*command).code == 2
    assert run(*command[:-1], "zip").code == 2
