"""Inputs that change where that is allowed: the same outputs, each model fed what it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgeopt.core.interface import Levels
from edgeopt.core.space import SearchSpace
from edgeopt.graph import equivalence, rewriting
from edgeopt.graph.builder import Builder
from edgeopt.graph.calibration import Ranges, collect
from edgeopt.graph.explaining import explain
from edgeopt.graph.interface import METADATA, annotate, interface_in, interface_of, originals
from edgeopt.graph.model import Model
from edgeopt.graph.references import references
from edgeopt.graph.space import ON, search_space
from edgeopt.runtimes.feeding import fed
from edgeopt.runtimes.onnxruntime import Session
from tests.graph.made import model

BOTH = ("uint8-input", "nhwc")
GRAY = {"x": Levels((1 / 255 / 0.3081,), (-0.1307 / 0.3081,))}
COLOR = {"x": Levels((0.0171, 0.0175, 0.0174), (-2.118, -2.036, -1.804), 1)}
KERNEL = ", ".join(str((7 * number) % 11 / 8 - 0.6) for number in range(4 * 3 * 3 * 3))
TYPES = "<ir_version: 8, opset_import: ['': 17]>".replace("'", '"')


class Samples:
    """Random bytes, as the original takes them."""

    digest = "random-bytes"

    def __init__(self, frozen: Model, levels: dict[str, Levels], count: int = 4) -> None:
        self._of = lambda: equivalence.random_feeds(frozen.inputs, count, 1, levels)

    def samples(self) -> list[dict[str, NDArray[np.generic]]]:
        return list(self._of())


def network(
    body: str, *, channels: int = 3, pad: int = 1, inputs: str = "", shape: str = "", out: str = ""
) -> str:
    weight = ", ".join(KERNEL.split(", ")[: 4 * channels * 9])
    return f"""{TYPES} agraph (float[{shape or f"1,{channels},8,8"}] x{inputs}) => (float[{out or "N,M"}] y)
    <float[4,{channels},3,3] w = {{{weight}}}, float most = {{255}}, float[{channels},1,1] mean = {{
     {", ".join(["0.5", "0.25", "0.75"][:channels])}}}, float[4,2] fc = {{1, 2, -1, 0.5, 0.25, 1, -2, 1}}>
    {{ {body.replace("CONV", f"Conv <pads = [{pad}, {pad}, {pad}, {pad}]>")}
       p = GlobalAveragePool(c) f = Flatten(p) y = MatMul(f, fc) }}"""


NETWORKS = {
    "color, padded": (network("c = CONV(x, w)"), COLOR),
    "color, not padded": (network("c = CONV(x, w)", pad=0), COLOR),
    "gray": (network("c = CONV(x, w)", channels=1), GRAY),
    "batch": (network("c = CONV(x, w)", shape="3,3,8,8"), COLOR),
    "begins with its preprocessing": (
        network("d = Div(x, most) s = Sub(d, mean) c = CONV(s, w)"), {"x": Levels()}
    ),
    "no Conv first": (network("r = Relu(x) q = MaxPool <kernel_shape = [2, 2]> (r) c = CONV(q, w)"), COLOR),
    "read twice": (network("n = Neg(x) a = CONV(x, w) b = CONV(n, w) r = Relu(b) c = Add(a, r)"), COLOR),
    "read twice by one node": (network("m = Mul(x, x) c = CONV(m, w)"), COLOR),
    "read in a branch": (
        network("""e = Shape(x) i = Size(e) g = Greater(i, i)
                   s = If (g) <then_branch = t () => (float[1,3,8,8] a) { a = Neg(x) },
                               else_branch = e () => (float[1,3,8,8] a) { a = Relu(x) }>
                   a = CONV(s, w) b = CONV(x, w) c = Add(a, b)"""), COLOR,
    ),
    "two images": (
        network("k = Add(x, u) c = CONV(k, w)", inputs=", float[1,3,8,8] u"),
        COLOR | {"u": Levels((1 / 255,))},
    ),
    "one image of two inputs": (network("k = Add(x, u) c = CONV(k, w)", inputs=", float[1,3,8,8] u"), COLOR),
    "channels last already": (
        network("t = Transpose <perm = [0, 3, 1, 2]> (x) c = CONV(t, w)", shape="1,8,8,3"),
        {"x": Levels(COLOR["x"].scale, COLOR["x"].shift, 3)},
    ),
}  # fmt: skip


def builder_of(
    tmp_path: Path, text: str, levels: dict[str, Levels], *, unsigned: bool = False
) -> tuple[Model, SearchSpace, Builder, Samples]:
    frozen = model(tmp_path / "m.onnx", text)
    annotate(frozen.ir, levels)
    samples = Samples(frozen, levels)
    ranges: Ranges = collect(frozen, samples)
    space = search_space(frozen, lossy=True, cores=1, interface=BOTH, unsigned=unsigned)
    return (
        frozen,
        space,
        Builder(frozen, space, ranges, tmp_path / "built", 19, 9, unsigned=unsigned),
        samples,
    )


def switches(space: SearchSpace, *allowed: str) -> dict[str, str]:
    return {
        p.site: ON
        for p in space.points
        if p.family == "rewrite" and rewriting.changes(str(p.name)) in allowed
    }


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_recipe_gives_the_same_with_changed_inputs(tmp_path: Path, name: str, unsigned: bool) -> None:
    frozen, space, builder, samples = builder_of(tmp_path, *NETWORKS[name], unsigned=unsigned)
    assert switches(space, "uint8-input")
    before = Session(builder.build(space.default()).path)
    recipes = dict(references(space, 1))
    for recipe in ("int8-static-per-channel", "int8-dynamic", "rewrites-only"):
        candidate = recipes.get(recipe, space.default())
        decided = dict(candidate.decisions)
        plain = Session(builder.build(candidate).path)
        for allowed in (("uint8-input",), BOTH):
            artifact = builder.build(space.candidate(decided | switches(space, *allowed)))
            assert {change.name: change.after.dtype for change in artifact.interface}["x"] == "uint8"
            changed = Session(artifact.path)
            assert originals(changed.inputs, artifact.interface) == frozen.inputs
            for feeds in samples.samples():
                expected, usual = before.run(feeds)[0], plain.run(feeds)[0]
                found = changed.run(fed(artifact.interface, feeds))[0]
                scale = np.abs(expected).max()
                own_error = np.abs(usual - expected).max() / scale
                allowed_error = 0.1 + own_error if "int8" in recipe else 1e-5
                assert np.abs(found - expected).max() / scale <= allowed_error, recipe


def test_exact_rewrites_are_proven_on_values_of_bytes(tmp_path: Path) -> None:
    frozen, space, builder, samples = builder_of(tmp_path, *NETWORKS["color, padded"])
    content = builder.rewritten(space.candidate(switches(space, *BOTH)))
    assert [change.allowed_by for change in interface_in(content)] == [BOTH]
    sessions: dict[bytes, Session] = {}

    def run(given: bytes, feeds: equivalence.Feeds) -> list[NDArray[np.generic]]:
        return sessions.setdefault(given, Session(given)).run(feeds)

    equivalence.check(frozen, content, samples.samples(), run, rtol=1e-5)
    assert {array.dtype for array in run(content, {"x": np.zeros((1, 8, 8, 3), np.uint8)})} == {
        np.dtype("float32")
    }


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def rewritten(tmp_path: Path, name: str, *allowed: str) -> list[str]:
    _, space, builder, _ = builder_of(tmp_path, *NETWORKS[name])
    recipe = dict(references(space, 1)).get("rewrites-only", space.default())
    return operators(builder.build(space.candidate(dict(recipe.decisions) | switches(space, *allowed))).path)


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("color, not padded", ["Cast", "Conv"]),  # the shift, too, is in the bias
        ("color, padded", ["Cast", "Add", "Conv"]),  # zeros of padding are not the byte 0
        ("begins with its preprocessing", ["Cast", "Add", "Conv"]),
        ("channels last already", ["Transpose", "Cast", "Add", "Conv"]),
    ],
)
def test_preprocessing_goes_into_the_first_layer(tmp_path: Path, name: str, begins: list[str]) -> None:
    assert rewritten(tmp_path, name, "uint8-input")[: len(begins)] == begins


def test_bytes_are_moved_rather_than_floats(tmp_path: Path) -> None:
    assert rewritten(tmp_path, "color, padded", *BOTH)[:3] == ["Transpose", "Cast", "Add"]


def test_an_int8_convolution_reads_the_bytes_themselves(tmp_path: Path) -> None:
    for unsigned, begins in ((True, ["DequantizeLinear"]), (False, ["Cast", "QuantizeLinear"])):
        _, space, builder, _ = builder_of(tmp_path, *NETWORKS["gray"], unsigned=unsigned)
        recipe = dict(references(space, 1))["int8-static-per-channel"]
        path = builder.build(space.candidate(dict(recipe.decisions) | switches(space, "uint8-input"))).path
        assert operators(path)[: len(begins)] == begins
        fed_by = {user.op_type for user in onnx.load(path).graph.node if "x" in user.input}
        assert fed_by == {begins[0]}


def test_nothing_is_offered_unless_it_is_allowed(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", NETWORKS["color, padded"][0])
    annotate(frozen.ir, COLOR)
    plain = search_space(frozen, lossy=True, cores=1)
    assert not switches(plain, *BOTH)
    one = search_space(frozen, lossy=True, cores=1, interface=("nhwc",))
    assert switches(one, *BOTH) == switches(one, "nhwc") != {}
    assert {point.site for point in plain.points} < {point.site for point in one.points}


def test_a_recipe_changes_no_input(tmp_path: Path) -> None:
    _, space, builder, _ = builder_of(tmp_path, *NETWORKS["color, padded"])
    for _, candidate in references(space, 1):
        assert builder.build(candidate).interface == ()


def test_a_file_tells_how_it_is_fed_and_the_index_remembers_it(tmp_path: Path) -> None:
    frozen, space, builder, _ = builder_of(tmp_path, *NETWORKS["color, padded"])
    candidate = space.candidate(switches(space, *BOTH))
    artifact = builder.build(candidate)
    metadata = {entry.key: entry.value for entry in onnx.load(artifact.path).metadata_props}
    (change,) = interface_of(metadata)
    assert (change,) == artifact.interface
    assert (change.before, change.levels, change.order) == (frozen.inputs[0], COLOR["x"], (0, 2, 3, 1))
    assert (change.after.dtype, change.after.shape) == ("uint8", (1, 8, 8, 3))
    again = Builder(frozen, space, None, tmp_path / "built", 19, 9).build(candidate)
    assert again.interface == artifact.interface
    assert interface_of({METADATA: "not ours"}) == ()


def test_a_changed_scale_gives_another_file(tmp_path: Path) -> None:
    _, space, builder, _ = builder_of(tmp_path, *NETWORKS["gray"])
    first = builder.build(space.candidate(switches(space, "uint8-input")))
    _, space, builder, _ = builder_of(tmp_path, NETWORKS["gray"][0], {"x": Levels((0.5,))})
    second = builder.build(space.candidate(switches(space, "uint8-input")))
    assert first.sha256 != second.sha256


def test_explain_says_what_has_to_be_allowed_and_what_is_missing(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", NETWORKS["color, padded"][0])
    found = {one.name: one for one in explain(frozen)}
    assert (found["nhwc_input"].allowed_by, found["nhwc_input"].count) == ("nhwc", 1)
    assert "nothing says that its values are bytes" in found["uint8_input"].reasons[0]
    assert found["fold_batchnorm"].allowed_by is None
