"""A candidate that loses too much, but passes the search part by luck, is caught on the confirm part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tests.e2e import made
from tests.e2e.contract import check_result
from tests.e2e.program import Program

LOSSY = ("int8_static_tensor", "int8_static_channel", "int8_dynamic")


def margins(model: Path, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers, and by how much the winner leads."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    y = np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])
    ordered = np.sort(y, axis=1)
    return y.argmax(axis=1), ordered[:, -1] - ordered[:, -2]


def without_calibrated(document: dict[str, object]) -> set[str]:
    return {str(option) for option in document["decisions"].values()} & set(LOSSY)  # type: ignore[attr-defined]


def test_luck_on_the_search_part_does_not_win(inside: Program, model: Path) -> None:
    x = np.random.default_rng(3).standard_normal((30_000, 32)).astype(np.float32)
    answers, lead = margins(model, x)
    order = np.argsort(lead)
    hard = order[20:620]  # int8 turns many of these around, float16 hardly any
    easy = order[-1000:]
    np.savez(inside.folder / "easy.npz", x=x[easy], labels=answers[easy])
    np.savez(inside.folder / "hard.npz", x=x[hard], labels=answers[hard])
    ran = inside.optimize(
        model.name, "--data", "easy.npz", "--confirm", "hard.npz", "--objective", "size", "--threads", 1,
        "--sampler", "random", "--budget", "4 trials", "-o", "out", "--allow-worse", "latency",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    document = ran.document
    check_result(document)

    references = {trial["name"]: trial for trial in document["references"]}
    planted = [references["int8-static-per-tensor"], references["int8-static-per-channel"]]
    for trial in planted:  # they pass the search part, and nothing is smaller
        assert trial["state"] == "COMPLETE", ran.err
        assert trial["drop"] <= 0.01
    caught = [entry for entry in document["final"] if entry["rejected"]]
    assert any("accuracy" in entry["rejected"] for entry in caught), document["final"]
    assert without_calibrated(document["best"]) == set()
    assert made.interface(inside.folder / "out" / "best.onnx") == made.interface(model)
    assert onnx.load(inside.folder / "out" / "best.onnx").graph.node

    accuracy = document["accuracy"]
    assert accuracy["n"] == len(hard)
    assert accuracy["basis"] == "labels"
    assert (accuracy["status"] == "established") == (accuracy["bound"] <= 0.01)
    answered, _ = margins(inside.folder / "out" / "best.onnx", x[hard])
    assert accuracy["drop"] == np.mean(answered != answers[hard])
