from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime

from tests.e2e import made
from tests.e2e.contract import check_error, check_result
from tests.e2e.program import Program, all_ended


def marks(folder: Path) -> dict[str, tuple[int, bytes]]:
    """What was measured: the latencies of every trial, and when they were written."""
    files = sorted((folder / "samples").glob("*.npy"))
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def others_are_refused(inside: Program) -> None:
    """`out` holds a study of `net.onnx` and `data.npz`."""
    made.classifier(inside.folder / "other.onnx", seed=7)
    made.samples(inside.folder / "other.npz", seed=7)
    for difference, model, *arguments in (
        ("model", "other.onnx", "--data", "data.npz"),
        ("data", "net.onnx", "--data", "other.npz"),
        ("seed", "net.onnx", "--data", "data.npz", "--seed", 1),
    ):
        ran = inside.optimize(model, *arguments, "--budget", 0, "-o", "out")
        assert ran.code == 2, (difference, ran.err)
        check_error(ran.document)
        assert f"{difference} was " in ran.document["error"]["message"]
        assert "--fresh" in ran.document["error"]["hint"]


def is_packaged(inside: Program) -> None:
    """What was found becomes a package right away, with golden inputs that are real."""
    assert inside("keys", "new", "keys").code == 0
    key = ("--key", "keys/edgeopt.key")
    packed = inside("package", "out", "-o", "m.edgepkg", *key, "--allow-unestablished", "--json")
    assert packed.code == 0, packed.err
    (variant,) = packed.document["variants"]
    assert variant["device"] == "tiny"
    assert variant["promise"]["provenance"] == "measured"
    with np.load(inside.folder / "out" / "golden.npz") as inputs, np.load(inside.folder / "data.npz") as data:
        assert inputs["x"].shape == (8, 1, 32)
        rows = {row.tobytes() for row in data["x"]}
        assert {sample.tobytes() for sample in inputs["x"]} <= rows
    verified = inside("verify", "m.edgepkg", "--trust", "keys")
    assert verified.code == 0, verified.err


def test_a_search_with_data_and_what_repeating_it_does(
    edgeopt: Program, inside: Program, model: Path, data: Path, home: Path
) -> None:
    command = (model.name, "--data", data.name, "-o", "out")
    first = edgeopt.optimize(*command, "--budget", "3 trials")
    assert first.code == 0, first.err
    assert "Traceback" not in first.err
    document, out = first.document, edgeopt.folder / "out"
    check_result(document)
    assert (document["device"], document["board"], document["provenance"]) == ("tiny", "local", "measured")
    assert document["artifact"] == str(out / "best.onnx")
    assert document["trials"] == len(first.told)
    names = {trial["name"] for trial in document["references"]}
    assert names >= {"int8-static-per-tensor", "int8-static-per-channel", "int8-dynamic", "float16-storage"}
    assert document["accuracy"]["basis"] == "agreement"
    assert document["accuracy"]["n"] == 90  # 30 % of the samples are kept for the end

    best = onnxruntime.InferenceSession(out / "best.onnx", providers=["CPUExecutionProvider"])
    x = np.load(data)["x"][:1]
    expected = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_allclose(best.run(None, {"x": x})[0], expected[0], atol=0.5)
    assert made.interface(out / "best.onnx") == made.interface(model)

    evidence = json.loads((out / "best.json").read_text())
    assert evidence["best"]["decisions"] == document["best"]["decisions"]
    assert sorted(evidence["split"]) == ["calibration", "confirm", "search"]
    page = (out / "report.html").read_text()
    assert "int8-dynamic" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (out / "study.log").stat().st_size
    assert all_ended(home) == []

    is_packaged(inside)
    before, seconds = marks(out), document["device_seconds"]
    again = inside.optimize(*command, "--budget", "3 trials")
    assert again.code == 0, again.err
    assert again.told == []
    assert marks(out) == before
    assert again.document == document  # board time included: none was spent
    assert seconds > 0

    more = inside.optimize(*command, "--budget", "4 trials")
    assert more.code == 0, more.err
    check_result(more.document)
    assert more.document["measured"] == document["measured"] + 1
    assert set(more.told).isdisjoint(first.told)
    after = marks(out)
    assert {name: after[name] for name in before} == before
    others_are_refused(inside)
    assert marks(out) == after


def test_without_data_only_exact_changes_are_made_until_fresh_starts_anew(
    inside: Program, model: Path
) -> None:
    command = (model.name, "--sampler", "random", "-o", "out")
    ran = inside.optimize(*command, "--budget", 0)
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["trials"] == 1 + len(ran.document["references"])  # and the final stage, no more
    assert ran.document["best"]["stage"] == "final"
    assert ran.document["verdict"] in ("original", "reference")
    if ran.document["verdict"] == "original":
        assert (inside.folder / "out" / "best.onnx").read_bytes() == model.read_bytes()
    assert any("--data" in line for line in ran.err.splitlines()[:2]), ran.err

    ran = inside.optimize(*command, "--budget", "2 trials")
    assert ran.code == 0, ran.err
    check_result(ran.document)
    shown = [ran.document["best"], *ran.document["references"], *ran.document["pareto"]]
    families = {site.partition(":")[0].partition("@")[0] for trial in shown for site in trial["decisions"]}
    assert families <= {"rewrite", "runtime"}
    assert ran.document["accuracy"] == {
        "status": "unverified", "basis": "none", "verified_on": None, "n": 0, "drop": None, "bound": None,
        "disagreement": None,
    }  # fmt: skip

    made.classifier(inside.folder / "other.onnx", seed=7)
    fresh = inside.optimize("other.onnx", *command[1:], "--threads", 1, "--budget", 0, "--fresh")
    assert fresh.code == 0, fresh.err
    check_result(fresh.document)
    assert 0 in fresh.told
    assert fresh.document["model"] == str(inside.folder / "other.onnx")
    assert (inside.folder / "out" / "previous" / "1" / "study.log").is_file()
