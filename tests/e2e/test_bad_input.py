"""Bad input: its exit code, a few lines, no traceback, and nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.e2e import made
from tests.e2e.contract import check_error
from tests.e2e.program import Program, Ran, all_ended
from tests.sshd import Sshd, make_key

MOST_LINES = 12


def refused(edgeopt: Program, code: int, words: str, *arguments: object) -> Ran:
    """Run it, and check all that every refusal has in common."""
    ran = edgeopt.optimize(*arguments, "--budget", "1 trials", "-o", "out")
    return checked(edgeopt, ran, code, words)


def checked(edgeopt: Program, ran: Ran, code: int, words: str) -> Ran:
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    assert 0 < len(ran.err.strip().splitlines()) <= MOST_LINES
    assert words in ran.err
    check_error(ran.document)
    assert not (edgeopt.folder / "out").exists()
    return ran


def external(folder: Path, location: str) -> None:
    """`net.onnx` whose weight is in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "external",
        [made.value("x", [1, 8])], [made.value("y", [1, 8])], [tensor],
    )  # fmt: skip
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    (folder / "net.onnx").write_bytes(proto.SerializeToString())


def truncated(folder: Path) -> None:
    whole = made.classifier(folder / "whole.onnx").read_bytes()
    (folder / "net.onnx").write_bytes(whole[: len(whole) // 2])


def huge(folder: Path) -> None:
    with (folder / "net.onnx").open("wb") as stream:
        stream.truncate((2 << 30) + 1)  # sparse: no disk is used


def linked(folder: Path) -> None:
    (folder / "elsewhere").write_bytes(bytes(32))
    (folder / "weights.bin").symlink_to(folder / "elsewhere")
    external(folder, "weights.bin")


def outside(folder: Path) -> None:
    (folder.parent / "weights.bin").write_bytes(bytes(32))
    external(folder, "../weights.bin")


def unknown_domain(folder: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Wave", ["x"], ["y"], domain="com.example")], "unknown",
        [made.value("x", [1, 8])], [made.value("y", [1, 8])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    proto = helper.make_model(graph, ir_version=8, opset_imports=imports)
    (folder / "net.onnx").write_bytes(proto.SerializeToString())


MODELS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "text": (lambda f: (f / "net.onnx").write_text("hello, I am a text\n"), 3, "not an ONNX model"),
    "truncated": (truncated, 3, "truncated"),
    "empty": (lambda f: (f / "net.onnx").touch(), 3, "is empty"),
    "folder": (lambda f: (f / "net.onnx").mkdir(), 2, "is a folder"),
    "missing": (lambda f: None, 2, "no such file"),
    "over 2 GiB": (huge, 3, "GiB"),
    "absolute external data": (lambda f: external(f, "/etc/hostname"), 3, "outside the model's folder"),
    "external data above": (outside, 3, "outside the model's folder"),
    "external data behind a link": (linked, 3, "symbolic link"),
    "missing external data": (lambda f: external(f, "weights.bin"), 3, "is missing"),
    "unknown domain": (unknown_domain, 3, "com.example"),
    "open shape": (lambda f: made.classifier(f / "net.onnx", batch="n"), 3, "--shape x="),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_none(inside: Program, name: str) -> None:
    make, code, words = MODELS[name]
    make(inside.folder)
    refused(inside, code, words, "net.onnx")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("net.pt", "torch.onnx.export"),
        ("net.h5", "keras"),
        ("net.tflite", "python -m tf2onnx.convert --tflite"),
    ],
)
def test_a_model_of_another_framework_is_answered_with_its_export(
    inside: Program, name: str, line: str
) -> None:
    (inside.folder / name).write_bytes(b"whatever")
    ran = refused(inside, 3, line, name)
    assert line in ran.document["error"]["hint"]


def npz(**arrays: object) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **arrays)  # type: ignore[arg-type]


X = np.zeros((40, 32), np.float32)
NAN = np.where(np.arange(32) == 3, np.nan, X).astype(np.float32)

DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "wrong name": (npz(picture=X), "x"),
    "wrong shape": (npz(x=X[:, :30]), "32"),
    "wrong type": (npz(x=np.full((40, 32), "no")), "float32"),
    "NaN": (npz(x=NAN), "NaN"),
    "no samples": (npz(x=X[:0]), "no samples"),
    "text": (lambda path: path.write_text("no"), "data.npz"),
    "truncated": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(60)), "data.npz"),
    "labels too few": (npz(x=X, labels=np.zeros(7, int)), "labels"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_does_not_fit(inside: Program, model: Path, name: str) -> None:
    make, words = DATA[name]
    make(inside.folder / "data.npz")
    refused(inside, 3, words, model.name, "--data", "data.npz")


USER_CODE = """
def raises(outputs, data):
    raise KeyError("no such column: colour")

def nan(outputs, data):
    return float("nan")

def samples():
    yield {"x": None}, 0
"""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--metric", "mine:raises"), 3, "no such column: colour"),
        (("--metric", "mine:nan"), 3, "mine:nan"),
        (("--metric", "mine:absent"), 2, "absent"),
        (("--metric", "nomodule:nothing"), 2, "nomodule"),
        (("--metric", "best"), 2, "unknown metric 'best'"),
        (("--metric", "top1"), 3, "labels"),
        (("--confirm", "nowhere.npz"), 2, "nowhere.npz"),
        (("--sampler", "guess"), 2, "unknown sampler 'guess'"),
        (("--shape", "x=1,16"), 3, "x"),
        (("--fixed", "z=1"), 2, "z"),
    ],
    ids=str,
)
def test_what_is_said_of_data_and_search(
    inside: Program, model: Path, data: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    (inside.folder / "mine.py").write_text(USER_CODE)
    refused(inside, code, words, model.name, "--data", data.name, *arguments)


def test_a_generator_that_yields_nonsense(inside: Program, model: Path) -> None:
    (inside.folder / "mine.py").write_text(USER_CODE)
    refused(inside, 3, "mine:samples", model.name, "--data", "mine:samples")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--device", "toaster"), 2, "unknown device 'toaster'"),
        (("--device", "local", "--budget", "many"), 2, "--budget 'many'"),
        (("--device", "local", "--board", "kitchen"), 2, "kitchen"),
        (("--device", "rpi4", "--board", "ssh://pi@127.0.0.1:1"), 4, "Connection refused"),
        (("--device", "rpi4", "--board", "local"), 4, "is not a rpi4"),
        (("--device", "rpi4", "--require", "measured"), 4, "--require measured"),
    ],
    ids=str,
)
def test_what_is_said_of_device_and_board(
    inside: Program, model: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    checked(inside, inside("optimize", model.name, *arguments, "-o", "out", "--json"), code, words)


def test_a_server_that_nobody_vouched_for(
    edgeopt: Program, model: Path, make_sshd: Callable[[str], Sshd]
) -> None:
    server = make_sshd("stranger")
    ran = refused(edgeopt, 4, "boards enroll", model.name, "--board", server.url)
    assert server.fingerprint in ran.err


def test_a_server_whose_key_has_changed(edgeopt: Program, model: Path, sshd: Sshd, home: Path) -> None:
    sshd.kill()
    for file in (sshd.host_key, sshd.host_key.with_suffix(".pub")):
        file.unlink()
    make_key(sshd.host_key)
    sshd.start()
    refused(edgeopt, 4, "changed", model.name, "--board", sshd.url)
    assert not sshd.objects.exists()
    assert all_ended(sshd.home) == []


def test_a_folder_that_cannot_be_made(edgeopt: Program, model: Path) -> None:
    (edgeopt.folder / "file").touch()
    ran = edgeopt.optimize(model.name, "--budget", 0, "-o", "file/out")
    assert ran.code == 1, ran.err
    check_error(ran.document)
    assert "file/out" in ran.err


def test_without_json_stdout_stays_empty(edgeopt: Program, data: Path) -> None:
    shutil.copy(data, edgeopt.folder / "net.onnx")
    ran = edgeopt("optimize", "net.onnx", "--device", "local", "-o", "out")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("error: ")
