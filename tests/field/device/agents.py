"""The agent as a device runs it: a process of its own in a folder of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.field.device.packages import Vendor

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "firmware_scripts" / "edgeopt_field.py"
STAND_IN = Path(__file__).parent / "stand_in"


@cache
def module() -> ModuleType:
    """The agent, imported."""
    spec = importlib.util.spec_from_file_location("edgeopt_field", SCRIPT)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Answer(dict[str, Any]):
    """What a command said, and its exit code."""

    code = 0

    @property
    def error(self) -> tuple[str, str]:
        return self["error"]["kind"], self["error"]["message"]


class Agent:
    """One device.

    Attributes:
        root: Its folder, as `--root` names it.
    """

    def __init__(self, folder: Path, script: Path = SCRIPT, stand_in: bool = True) -> None:
        self.root, self.script = folder, script
        self.environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        if stand_in:
            self.environment["PYTHONPATH"] = str(STAND_IN)
        self.before: tuple[str, ...] = ()

    def command(self, *words: object) -> list[str]:
        return [sys.executable, *self.before, str(self.script), "--root", str(self.root), *map(str, words)]

    def do(self, *words: object, stdin: bytes = b"", **environment: str) -> Answer:
        done = subprocess.run(
            self.command(*words), input=stdin, capture_output=True, env={**self.environment, **environment},
            check=False,
        )  # fmt: skip
        lines = done.stdout.decode().splitlines()
        assert not done.stderr, done.stderr.decode()
        assert len(lines) == 1, (done.returncode, lines)
        answer = Answer(json.loads(lines[0]))
        answer.code = done.returncode
        assert (answer.code != 0) == ("error" in answer), answer
        return answer

    def good(self, *words: object, stdin: bytes = b"") -> Answer:
        answer = self.do(*words, stdin=stdin)
        assert answer.code == 0, answer
        return answer

    def trusts(self, vendor: Vendor) -> Agent:
        assert self.good("trust", stdin=vendor.roots[0])["trust"] == "installed"
        return self

    def wishes(self, **config: object) -> None:
        self.root.mkdir(exist_ok=True)
        (self.root / "config.json").write_text(json.dumps(config))

    @property
    def serving(self) -> int | None:
        return self.do("status")["counter"]

    @property
    def model(self) -> dict[str, Any]:
        """What the file that serves says of itself."""
        return json.loads((self.root / "current" / "model.onnx").read_bytes().rstrip(b"\0"))

    def files(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir()}
