"""What the documentation says is true: its Python runs, its links lead somewhere, its commands exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgeopt.core import plugins

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
GUIDES = sorted(ROOT.glob("docs/adding-a-*.md"))

PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def id_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("guide", GUIDES, ids=id_of)
def test_the_code_of_a_guide_runs(guide: Path, tmp_path: Path) -> None:
    blocks = PYTHON_BLOCK.findall(guide.read_text())
    assert blocks, "a guide shows code that can be run"
    program = tmp_path / "guide.py"
    program.write_text("\n".join(blocks))
    finished = subprocess.run(
        [sys.executable, "-W", "error", program],
        cwd=tmp_path,
        env=os.environ | {"EDGEOPT_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text())]
    inside = [target for target in targets if target and "://" not in target]
    assert [target for target in inside if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("family", plugins.FAMILIES)
def test_every_family_that_has_plugins_has_a_guide(family: str) -> None:
    folder = plugins.FAMILIES[family].replace(".", "/")
    guides = [guide for guide in GUIDES if folder in guide.read_text()]
    assert guides or not plugins.names(family), f"no docs/adding-a-*.md speaks of {folder}"


def test_a_device_has_a_guide_which_names_every_required_fact() -> None:
    from edgeopt.boards.profiles import REQUIRED, REQUIRED_OF_HARDWARE

    guide = (ROOT / "docs" / "adding-a-device.md").read_text()
    facts = {f for required in (REQUIRED, REQUIRED_OF_HARDWARE) for names in required.values() for f in names}
    assert [fact for fact in facts if fact not in guide] == []


def test_the_commands_of_the_readme_exist() -> None:
    from typer.main import get_command

    from edgeopt.cli.app import app

    known = get_command(app)
    shell = "\n".join(SHELL_BLOCK.findall((ROOT / "README.md").read_text()))
    used = {line.split()[1] for line in shell.splitlines() if line.startswith("edgeopt ")}
    assert used >= {"optimize", "report", "study", "boards"}
    assert used <= set(known.commands)  # type: ignore[attr-defined]


def test_the_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(targets) >= {"demo", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(page.name[:4]) for page in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_architecture_opens_with_what_is_out_of_scope() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert headings[0] == "Out of scope"
