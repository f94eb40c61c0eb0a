"""Functions that users name are those of their own project."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt.core.errors import ConfigError
from edgeopt.data.user_code import load_function


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def project(folder: Path, answer: int) -> Path:
    folder.mkdir()
    (folder / "made_up_neighbour.py").write_text(f"ANSWER = {answer}\n")
    (folder / "made_up_metric.py").write_text(
        "import made_up_neighbour\n"
        "def score(outputs, data): return made_up_neighbour.ANSWER\n"
        "def late(outputs, data):\n    import made_up_neighbour\n    return made_up_neighbour.ANSWER\n"
    )
    return folder


def test_two_projects_in_one_process_have_modules_of_their_own(tmp_path: Path) -> None:
    folders = [project(tmp_path / name, answer) for name, answer in (("a", 1), ("b", 2))]
    found = [load_function("made_up_metric:score", folder) for folder in folders]
    assert [function([], {}) for function in found] == [1, 2]
    assert load_function("made_up_metric:score", folders[0]) is found[0]
    assert load_function("made_up_metric:late", folders[0])([], {}) == 1
    assert load_function("made_up_metric:late", folders[1])([], {}) == 2


def test_what_a_function_imports_late_is_no_other_projects(tmp_path: Path) -> None:
    folders = [project(tmp_path / name, answer) for name, answer in (("a", 1), ("b", 2))]
    for folder in folders:
        (folder / "made_up_late.py").write_text(
            "def score(outputs, data):\n    import made_up_neighbour\n    return made_up_neighbour.ANSWER\n"
        )
    assert load_function("made_up_late:score", folders[0])([], {}) == 1
    assert load_function("made_up_metric:score", folders[1])([], {}) == 2
    assert load_function("made_up_late:score", folders[0])([], {}) == 1


def test_what_was_imported_before_is_not_the_projects_though_it_lies_there(tmp_path: Path) -> None:
    """As edgeopt itself does, where somebody works in a checkout of it."""
    folders = [project(tmp_path / name, answer) for name, answer in (("a", 1), ("b", 2))]
    (folders[0] / "made_up_package").mkdir()
    (folders[0] / "made_up_package" / "__init__.py").write_text("")
    (folders[0] / "made_up_package" / "late.py").write_text("")
    sys.path.append(str(folders[0]))
    before = importlib.import_module("made_up_package")
    load_function("made_up_metric:score", folders[0])
    late = importlib.import_module("made_up_package.late")
    load_function("made_up_metric:score", folders[1])
    assert sys.modules["made_up_package"] is before
    assert sys.modules["made_up_package.late"] is late


def test_two_functions_of_one_module_share_it(tmp_path: Path) -> None:
    folder = project(tmp_path / "a", 1)
    functions = [load_function(f"made_up_metric:{name}", folder) for name in ("score", "late")]
    assert functions[0].__globals__ is functions[1].__globals__


def test_a_module_that_hides_behind_an_imported_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def score(outputs, data): return 1\n")
    with pytest.raises(ConfigError, match="already"):
        load_function("json:score", tmp_path)
