from pathlib import Path

import numpy as np
import pytest

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.dataset import Dataset
from edgeopt.data.source import open_data
from tests.data.made import X4

_COUNT = iter(range(10**6))


def from_code(tmp_path: Path, body: str, *inputs: TensorSpec, **fixed: np.ndarray) -> Dataset:
    name = f"made_up_data_{next(_COUNT)}"  # a module is imported once per process
    (tmp_path / f"{name}.py").write_text(f"import numpy as np\n{body}\n")
    return open_data(f"{name}:samples", inputs or (X4,), fixed=fixed, base=tmp_path)


GOOD = """
def samples():
    for i in range(5):
        yield {"x": np.full(4, i, dtype=np.uint8)}, i % 2
"""


def test_a_function_is_called_again_for_every_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeopt.data.dataset.MEMORY_BYTES", 0)
    dataset = from_code(tmp_path, GOOD)
    assert len(dataset) == 5
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0]
    for _ in range(2):
        assert [feeds["x"].tolist() for feeds in dataset.samples()] == [[[float(i)] * 4] for i in range(5)]
    assert [feeds["x"][0, 0] for feeds in dataset.samples(np.array([1, 4]))] == [1, 4]
    assert dataset.column("x", np.array([0, 3])).shape == (2, 1, 4)


def test_it_may_yield_the_bare_array_and_no_labels(tmp_path: Path) -> None:
    dataset = from_code(tmp_path, "def samples():\n    yield np.ones((1, 4)), None")
    assert dataset.labels is None
    assert next(dataset.samples())["x"].tolist() == [[1, 1, 1, 1]]


def test_inputs_that_it_does_not_yield_are_fixed(tmp_path: Path) -> None:
    rate = TensorSpec("sr", "int64", ())
    dataset = from_code(tmp_path, "def samples():\n    yield np.ones(4), 1", X4, rate, sr=np.array(8))
    assert next(dataset.samples())["sr"] == 8


def test_a_buffer_that_is_filled_again_is_copied(tmp_path: Path) -> None:
    body = """
def samples():
    buffer = np.zeros(4, np.float32)
    for i in range(3):
        buffer[:] = i
        yield buffer, i
"""
    dataset = from_code(tmp_path, body)
    assert [feeds["x"][0, 0] for feeds in list(dataset.samples())] == [0, 1, 2]


def test_it_finds_its_neighbours_in_the_project_folder_also_later(tmp_path: Path) -> None:
    (tmp_path / "made_up_neighbour.py").write_text("VALUE = 7")
    body = "def samples():\n    from made_up_neighbour import VALUE\n    yield np.full(4, VALUE), 0"
    assert next(from_code(tmp_path, body).samples())["x"][0, 0] == 7


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "def samples():\n    yield np.ones(4)",
            r"sample 0 .* is a ndarray: it must yield \(inputs, label\)",
        ),
        ("def samples():\n    yield {'y': np.ones(4)}, 0", "no input 'y'; its inputs are x"),
        ("def samples():\n    yield {}, 0", "has no array for the model's input 'x'"),
        ("def samples():\n    yield np.ones(5), 0", "the model takes x"),
        ("def samples():\n    yield np.full(4, np.nan), 0", "sample 0 .*NaN"),
        ("def samples():\n    yield [[1], [1, 2]], 0", "not an array"),
        ("def samples():\n    yield np.ones(4), 0\n    yield np.ones(4), None", "label with 1 of 2"),
        ("def samples():\n    yield np.ones(4), [0]\n    yield np.ones(4), [0, 1]", "labels differ in shape"),
        ("def samples():\n    yield np.ones(4), {}", "neither numbers nor words"),
        ("def samples():\n    yield np.ones(4), 0\n    raise KeyError('lost')", "raised KeyError: 'lost'"),
        ("def samples():\n    return 3", "raised TypeError"),
        ("def samples():\n    return iter(())", "yielded no samples"),
        ("def samples(path):\n    yield np.ones(4), 0", "raised TypeError"),
        ("def samples():\n    yield np.random.normal(size=4), 0", "other samples when it is called again"),
        (
            "n = 0\ndef samples():\n    global n\n    n += 1\n    for i in range(3 if n == 1 else 2):\n"
            "        yield np.zeros(4), 0",
            "now it ends sooner",
        ),
    ],
)
def test_a_function_that_does_not_keep_to_the_form_is_one_short_error(
    tmp_path: Path, body: str, says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        from_code(tmp_path, body)
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [("1 / 0", "ZeroDivisionError"), ("import nothing_of_that_name", "ModuleNotFoundError"),
     ("def", "SyntaxError"), ("x = 1", "no function 'samples'"), ("samples = 3", "no function 'samples'")],
)  # fmt: skip
def test_a_module_that_cannot_be_imported_is_wrong_usage(tmp_path: Path, body: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        from_code(tmp_path, body)


def test_a_name_that_is_neither_file_nor_module_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot import"):
        open_data("nomodule:nothing", [X4], base=tmp_path)
    with pytest.raises(ConfigError, match="no data at"):
        open_data("no module", [X4], base=tmp_path)
    with pytest.raises(ConfigError, match="no such input"):
        open_data("nomodule:nothing", [X4], fixed={"z": np.zeros(())}, base=tmp_path)
