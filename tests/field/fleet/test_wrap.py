"""Packages in the wrappings of Mender and RAUC: made by their own tools, and installed by our scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.core.errors import ConfigError, EdgeoptError
from edgeopt.field.wrap import Wrapping, wrap
from edgeopt.resources import resource
from tests.field.fleet.devices import FieldDevice, Fleet
from tests.field.fleet.releases import release

AGENT = resource("firmware_scripts/edgeopt_field.py")


def said(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long  # needs mender-artifact
def test_a_mender_artifact_is_valid_and_holds_the_package(trust: Path, tmp_path: Path) -> None:
    package, output = release(tmp_path / "1.edgepkg", trust, 1), tmp_path / "1.mender"
    wrap(package, "mender", output, Wrapping(["rpi4", "rpi5"]))
    assert "validated successfully" in said("mender-artifact", "validate", output)
    read = said("mender-artifact", "read", output)
    assert "scale-1" in read
    assert "rpi4" in read
    assert "Type" in read
    assert "edgeopt" in read


@pytest.mark.long  # needs rauc and squashfs-tools
def test_a_rauc_bundle_is_signed_and_holds_the_package(trust: Path, tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    said(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
        "-subj", "/CN=edgeopt test", "-days", "2",
    )  # fmt: skip
    package, output = release(tmp_path / "1.edgepkg", trust, 1), tmp_path / "1.raucb"
    wrap(package, "rauc", output, Wrapping(["rpi4-kitchen"], key, cert))
    read = said("rauc", f"--keyring={cert}", "info", output)
    assert "rpi4-kitchen" in read
    assert "scale-1.edgepkg" in read
    assert "install" in read


@pytest.mark.parametrize(
    ("kind", "wrapping", "says"),
    [
        ("swupdate", Wrapping(["rpi4"]), "unknown format"),
        ("mender", Wrapping([]), "kinds of devices"),
        ("rauc", Wrapping(["rpi4"]), "signs the bundle"),
        ("rauc", Wrapping(["a", "b"], Path("k"), Path("c")), "one kind of device"),
    ],
)
def test_what_is_not_given_is_asked_for(
    kind: str, wrapping: Wrapping, says: str, trust: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        wrap(release(tmp_path / "1.edgepkg", trust, 1), kind, tmp_path / "out", wrapping)
    assert not (tmp_path / "out").exists()


def test_a_missing_tool_is_named_with_what_installs_it(
    trust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = release(tmp_path / "1.edgepkg", trust, 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    for kind, wrapping in (("mender", Wrapping(["a"])), ("rauc", Wrapping(["a"], Path("k"), Path("c")))):
        with pytest.raises(EdgeoptError, match="is not installed") as refusal:
            wrap(package, kind, tmp_path / "out", wrapping)
        assert str(refusal.value.hint).startswith("apt-get install")


@pytest.fixture
def device(make_fleet: Callable[[int], Fleet], trust: Path) -> FieldDevice:
    """One that trusts us already."""
    found = make_fleet(1)[0]
    answer = found.ask("trust", stdin=(trust / "root.pub.json").read_bytes())
    assert "error" not in answer, answer
    return found


def hooked(device: FieldDevice, *command: object, **environment: object) -> subprocess.CompletedProcess[str]:
    given = {"EDGEOPT_ROOT": device.root, "EDGEOPT_PYTHON": sys.executable, **environment}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {name: str(value) for name, value in given.items()},
    )  # fmt: skip


def test_the_update_module_installs_and_takes_back(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    module = resource("firmware_scripts/wrap/mender-module.sh")
    assert hooked(device, module, "SupportsRollback", tmp_path).stdout == "Yes\n"
    assert hooked(device, module, "NeedsArtifactReboot", tmp_path).stdout == "No\n"
    for counter, wrong in ((1, False), (2, False), (3, True)):
        folder = tmp_path / f"payload-{counter}"
        for name in ("files", "tmp"):
            (folder / name).mkdir(parents=True)
        release(folder / "files" / f"scale-{counter}.edgepkg", trust, counter, wrong=wrong)
        shutil.copyfile(AGENT, folder / "files" / AGENT.name)
        ran = hooked(device, module, "ArtifactInstall", folder)
        assert (ran.returncode == 0) is not wrong, ran.stderr
        assert device.serves == min(counter, 2)
    # The failed one has gone back by itself: taking it back changes nothing. The second one is taken back.
    assert hooked(device, module, "ArtifactRollback", tmp_path / "payload-3").returncode == 0
    assert device.serves == 2
    assert hooked(device, module, "ArtifactRollback", tmp_path / "payload-2").returncode == 0
    assert device.serves == 1
    assert hooked(device, module, "ArtifactCommit", tmp_path / "payload-2").returncode == 0


def test_the_hook_of_a_bundle_installs(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    hook = shutil.copy(resource("firmware_scripts/wrap/rauc-hook.sh"), bundle / "hook.sh")
    shutil.copyfile(AGENT, bundle / AGENT.name)
    good = release(bundle / "scale-1.edgepkg", trust, 1)
    ran = hooked(device, hook, "slot-install", "edgeopt.0", RAUC_IMAGE_NAME=good)
    assert ran.returncode == 0, ran.stderr
    assert device.serves == 1
    bad = release(bundle / "scale-2.edgepkg", trust, 2, wrong=True)
    assert hooked(device, hook, "slot-install", "edgeopt.0", RAUC_IMAGE_NAME=bad).returncode != 0
    assert device.serves == 1
    assert hooked(device, hook, "install-check").returncode == 1
