"""Graphs in torch compute what onnxruntime computes, and are differentiated rightly."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgeopt.graph import structure
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.moments import Statistics
from edgeopt.graph.regions import regions
from edgeopt.graph.structuring import Structures, structure_points
from edgeopt.graph.training.program import TABLE, Program
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.testing.precision import RandomSamples, example

X, IMAGE, SEQUENCE = "float[1, 3, 4] x", "float[1, 4, 7, 6] x", "float[5, 2, 3] x"
POSITIVE = "a = Abs(x) one = Constant <value_float = 0.5> () p = Add(a, one)"

BODIES: dict[str, tuple[str, str]] = {
    **{op: (X, f"y = {op}(x)") for op in (
        "Abs", "Neg", "Exp", "Erf", "Sin", "Cos", "Tanh", "Sigmoid", "Relu", "Softplus", "Softsign",
        "HardSwish", "Mish", "Floor", "Ceil", "Round", "Sign", "Identity", "Dropout", "LeakyRelu", "Elu",
        "Selu", "HardSigmoid", "Gelu", "Softmax", "LogSoftmax",
    )},
    **{op: (X, f"{POSITIVE} y = {op}(p)") for op in ("Log", "Sqrt", "Reciprocal")},
    **{op: (X, f"y = {op} (x, w)") for op in ("Add", "Sub", "Mul", "Sum", "Max", "Min", "PRelu")},
    **{op: (X, f"b = {op} (x, w) y = Cast <to = 1> (b)") for op in (
        "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    )},
    **{op: (X, "z = Constant <value_float = 0.0> () c = Less(x, w) d = Less(x, z) "
              f"b = {op}(c, d) y = Where(b, x, z)") for op in ("And", "Or", "Xor")},
    **{op: (X, f"y = {op} <axes = [1], keepdims = 0> (x)") for op in (
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp",
    )},
    **{op: (X, f"i = {op} <axis = -1> (x) y = Cast <to = 1> (i)") for op in ("ArgMax", "ArgMin")},
    "ReduceSum": (X, "y = ReduceSum <keepdims = 1> (x)"),
    "Not": (X, "c = Less(x, w) b = Not(c) y = Cast <to = 1> (b)"),
    "Where": (X, "c = Less(x, w) y = Where(c, x, w)"),
    "Div": (X, f"{POSITIVE} y = Div(x, p)"),
    "Pow": (X, "two = Constant <value_float = 2.0> () y = Pow(x, two)"),
    "Mod": (X, "one = Constant <value_float = 0.7> () y = Mod <fmod = 1> (x, one)"),
    "Clip": (X, "low = Constant <value_float = -0.5> () y = Clip(x, low)"),
    "Cast": (X, "i = Cast <to = 7> (x) y = Cast <to = 1> (i)"),
    "CastLike": (X, "i = Cast <to = 7> (x) y = CastLike(i, w)"),
    "Reshape": (X, "s = Constant <value_ints = [0, -1]> () y = Reshape(x, s)"),
    "Flatten": (X, "y = Flatten <axis = 2> (x)"),
    "Transpose": (X, "y = Transpose <perm = [2, 0, 1]> (x)"),
    "Squeeze": (X, "a = Constant <value_ints = [0]> () y = Squeeze(x, a)"),
    "Unsqueeze": (X, "a = Constant <value_ints = [-1, 1]> () y = Unsqueeze(x, a)"),
    "Concat": (X, "y = Concat <axis = 1> (x, x)"),
    "Split": (X, "s = Constant <value_ints = [1, 3]> () a, b = Split <axis = 2> (x, s) y = Mul(a, b)"),
    "Slice": (X, "s = Constant <value_ints = [-1, 1]> () e = Constant <value_ints = [-99, 9]> () "
                 "a = Constant <value_ints = [2, 1]> () k = Constant <value_ints = [-2, 1]> () "
                 "y = Slice(x, s, e, a, k)"),
    "Gather": (X, "i = Constant <value_ints = [-1, 0]> () y = Gather <axis = 2> (x, i)"),
    "GatherElements": (X, "i = ArgMax <axis = 2> (x) y = GatherElements <axis = 2> (x, i)"),
    "Expand": (X, "s = Constant <value_ints = [2, 1, 1]> () y = Expand(x, s)"),
    "Tile": (X, "s = Constant <value_ints = [1, 2, 3]> () y = Tile(x, s)"),
    "Pad": (X, "p = Constant <value_ints = [0, 1, 2, 0, 0, 1]> () a = Pad(x, p) "
               "q = Constant <value_ints = [0, 0, 2, 0, 0, 1]> () y = Pad <mode = \"reflect\"> (a, q)"),
    "ConstantOfShape": (X, "s = Shape(x) z = ConstantOfShape <value = float[1] {2.5}> (s) y = Mul(x, z)"),
    "Shape": (X, "s = Shape(x) f = Cast <to = 1> (s) y = ReduceMean(f)"),
    "Size": (X, "s = Size(x) f = Cast <to = 1> (s) y = Mul(x, f)"),
    "Trilu": (X, "y = Trilu <upper = 0> (x)"),
    "Range": (X, "s = Constant <value_float = 0.0> () e = Constant <value_float = 4.0> () "
                 "d = Constant <value_float = 1.0> () r = Range(s, e, d) y = Mul(x, r)"),
    "MatMul": (X, "y = MatMul(x, m)"),
    "Gemm": (X, "f = Flatten(x) y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (f, g, h)"),
    "Einsum": (X, "y = Einsum <equation = \"bij,jk->bik\"> (x, m)"),
    "LayerNormalization": (X, "y = LayerNormalization(x, w, w)"),
    "InstanceNormalization": (IMAGE, "y = InstanceNormalization(x, w, w)"),
    "BatchNormalization": (IMAGE, "a = Abs(w) y = BatchNormalization(x, w, w, w, a)"),
    "Conv": (IMAGE, "a = Conv <strides = [2, 1], pads = [1, 0, 0, 2]> (x, k3, w) "
                    "b = Conv <group = 4, dilations = [2, 1], auto_pad = \"VALID\"> (x, kd) "
                    "c = GlobalMaxPool(a) d = GlobalMaxPool(b) y = Add(c, d)"),
    "ConvTranspose": (IMAGE, "y = ConvTranspose <strides = [2, 2], pads = [1, 0, 0, 1], "
                             "output_padding = [1, 0]> (x, k3)"),
    "MaxPool": (IMAGE, "y = MaxPool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 0, 1]> (x)"),
    "AveragePool": (IMAGE,
                    "y = AveragePool <kernel_shape = [3, 3], strides = [2, 1], pads = [1, 1, 0, 1]> (x)"),
    "GlobalAveragePool": (IMAGE, "y = GlobalAveragePool(x)"),
    "GlobalMaxPool": (IMAGE, "y = GlobalMaxPool(x)"),
    "DepthToSpace": (IMAGE, "y = DepthToSpace <blocksize = 2, mode = \"CRD\"> (x)"),
    "SpaceToDepth": ("float[1, 2, 4, 6] x", "y = SpaceToDepth <blocksize = 2> (x)"),
    "Resize": (IMAGE, "s = Constant <value_ints = [1, 4, 5, 4]> () "
                      "k = Constant <value_floats = [1.0, 1.0, 2.0, 1.5]> () "
                      "a = Resize <mode = \"linear\"> (x, , , s) "
                      "b = Resize <coordinate_transformation_mode = \"asymmetric\", "
                      "nearest_mode = \"floor\"> (x, , k) c = GlobalMaxPool(b) y = Mul(a, c)"),
    "LSTM": (SEQUENCE, "y, h, c = LSTM <hidden_size = 4, direction = \"bidirectional\"> (x, lw, lr, lb)"),
    "GRU": (SEQUENCE, "a, h = GRU <hidden_size = 4, linear_before_reset = 1> (x, gw, gr, gb) "
                      "b, k = GRU <hidden_size = 4, direction = \"reverse\"> (x, gw, gr) "
                      "y = Concat <axis = 1> (a, b)"),
    "RNN": (SEQUENCE, "y, h = RNN <hidden_size = 4> (x, rw, rr, rb)"),
}  # fmt: skip

WEIGHTS = (
    "float[4] w", "float[4, 5] m", "float[5, 12] g", "float[5] h", "float[4, 4, 3, 3] k3",
    "float[4, 1, 2, 3] kd",
    "float[2, 16, 3] lw", "float[2, 16, 4] lr", "float[2, 32] lb", "float[1, 12, 3] gw", "float[1, 12, 4] gr",
    "float[1, 24] gb", "float[1, 4, 3] rw", "float[1, 4, 4] rr", "float[1, 8] rb",
)  # fmt: skip
UNTESTED_ALONE = {"Constant", "RMSNormalization"}
"""RMSNormalization begins at operator set 23, which the parser's model here is below."""


def graph_of(op: str) -> str:
    inputs, body = BODIES[op]
    opset = 20 if op in ("Gelu", "Mish") else 18 if op == "Mish" else 17
    if "axes = " in body and op == "ReduceMean":
        opset = 13
    used = ", ".join(one for one in WEIGHTS if re.search(rf"\b{one.split()[-1]}\b", body))
    declared = f"<{used}>" if used else ""
    return f'<ir_version: 8, opset_import: ["": {opset}]> one ({inputs}) => (float y) {declared} {{ {body} }}'


def feeds_of(model: Model, count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        one = {}
        for spec in model.inputs:
            is_float = "float" in str(spec.dtype)
            one[spec.name] = (
                rng.standard_normal(spec.shape).astype(np.float32) if is_float
                else rng.integers(0, 3, spec.shape).astype(spec.dtype)
            )  # fmt: skip
        made.append(one)
    return made


def check(model: Model) -> Program:
    program = Program(model.ir.graph, model.opset)
    session, feeds = Session(to_bytes(model.ir)), feeds_of(model, 3)
    outputs = [session.run(one) for one in feeds]
    program.check(
        {name: np.stack([one[name] for one in feeds]) for name in feeds[0]},
        {name: np.stack([one[i] for one in outputs]) for i, name in enumerate(program.outputs)},
    )
    return program


@pytest.mark.parametrize("op", sorted(BODIES))
def test_an_operator_computes_what_onnxruntime_does(op, tmp_path):
    check(example(graph_of(op), tmp_path))


def test_every_operator_of_the_table_has_a_case():
    assert set(TABLE) - UNTESTED_ALONE == set(BODIES)


@pytest.mark.parametrize("name", structure.names())
def test_changed_structures_compute_the_same(name, tmp_path):
    model = example(structure.change(name).EXAMPLES[0], tmp_path)
    part = RandomSamples(model)
    points = structure_points(model, regions(model))
    chosen = {p.site: p.options[-1] for of in points.values() for p in of if p.name == name}
    made = Structures(model, regions(model), part, Statistics(model, part))
    check(made.variant(chosen).model)


CASES = [(name, i) for name in structure.names() for i in range(len(structure.change(name).EXAMPLES))]


@pytest.mark.parametrize(("name", "index"), CASES)
def test_the_graphs_that_structure_changes_are_made_on_compute_the_same(name, index, tmp_path):
    check(example(structure.change(name).EXAMPLES[index], tmp_path))
