"""The wheel alone is edgeopt: profiles, runner and the bundled example are in it."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEVICES = ("local", "rpi-zero2w", "rpi3bplus", "rpi4", "rpi5")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program that sees nothing of this checkout but what it is told."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    finished = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, f"{finished.stdout}\n{finished.stderr}"
    return finished.stdout


def empty_environment(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    return folder / "bin"


def test_everything_that_ships_beside_the_code_is_in_it(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"edgeopt/_data/device_profiles/{name}.toml" for name in DEVICES}
    shipped |= {
        "edgeopt/_data/device_profiles/published_latency.csv",
        "edgeopt/_data/firmware_scripts/edgeopt_runner.py",
        "edgeopt/_data/firmware_scripts/edgeopt_field.py",
        "edgeopt/_data/firmware_scripts/provision/frame.sh",
        "edgeopt/_data/firmware_scripts/provision/steps/runtime.sh",
        "edgeopt/_data/examples/cnn/model.onnx",
        "edgeopt/_data/examples/cnn/edgeopt.toml",
        "edgeopt/_data/benchmarks/oracles/cnn-rpi4.jsonl.gz",
        "edgeopt/bench/page.html.j2",
        "edgeopt/boards/virtual/counting.c",
        "edgeopt/boards/virtual/guest/init",
        "edgeopt/boards/virtual/guest/wheels.txt",
    }
    assert shipped - inside == set()
    assert any(name.startswith("edgeopt/_data/examples/cnn/data/") for name in inside)
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_nothing_else_is_in_it(wheel: Path) -> None:
    inside = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"edgeopt"}
    assert [name for name in inside if "__pycache__" in name or name.endswith(".pyc")] == []


def test_installed_it_answers_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Only the wheel is installed here; third parties are lent by the environment of the tests.

    Installing those too takes minutes: the long test below does.
    """
    programs = empty_environment(tmp_path / "venv")
    run(programs / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(run(programs / "python", "-c", where, cwd=tmp_path).strip())
    # A path in a .pth file is searched last, and .pth files in it, the checkout's among them, are not read.
    (own / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")

    origin = run(programs / "python", "-c", "import edgeopt; print(edgeopt.__file__)", cwd=tmp_path)
    assert Path(origin.strip()).is_relative_to(own)
    listed = run(programs / "edgeopt", "devices", "list", cwd=tmp_path)
    assert all(device in listed for device in DEVICES)
    runner = "from edgeopt.resources import resource; print(resource('firmware_scripts/edgeopt_runner.py'))"
    assert Path(run(programs / "python", "-c", runner, cwd=tmp_path).strip()).is_relative_to(own)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_installed_with_its_dependencies_it_answers_and_predicts(wheel: Path, tmp_path: Path) -> None:
    programs = empty_environment(tmp_path / "venv")
    run(programs / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    listed = run(programs / "edgeopt", "devices", "list", cwd=tmp_path)
    assert all(device in listed for device in DEVICES)
    predict = ("optimize", "--device", "rpi4", "--board", "predicted", "--budget", "0", "--json")
    answer = run(programs / "edgeopt", *predict, cwd=tmp_path)
    assert '"provenance": "predicted"' in answer
