"""Odd models: what exporters and people write that tidy test models do not show, by class.

Each is an `Odd`: a file that must be optimised without a change of what it computes, or be refused in one line
that says why. `tests/graph/test_odd.py` puts them through load, freeze, search space and build.
"""

# ruff: noqa: E501 - the models are easier to read as they are than folded

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.graph.made import save
from tests.graph.odd_networks import convolutions, recurrence

Make = Callable[[Path], Path]


@dataclass(frozen=True, slots=True)
class Odd:
    """A model that is odd in one way.

    Attributes:
        name: `class-kind`.
        make: Writes it into a folder; the file.
        shapes: Given to `freeze`.
        refused: None where it must work, else what the refusal must say.
    """

    name: str
    make: Make
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    refused: str | None = None


def text(name: str, source: str, refused: str | None = None, **shapes: tuple[int, ...]) -> Odd:
    """A model in `onnx.parser` text; declared values `float[...] w` that nothing computes become weights."""
    return Odd(name, lambda folder: save(folder / "model.onnx", weighted(source)), shapes, refused)


def weighted(source: str) -> onnx.ModelProto:
    """Parsed, with random weights for what is declared behind `<` but has no value."""
    from edgeopt.testing.precision import fill_weights

    proto = onnx.parser.parse_model(source)
    fill_weights(proto)
    return proto


HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'


def opsets(versions: range | tuple[int, ...] = range(7, 24)) -> list[Odd]:
    """A convolutional and a recurrent network in each operator set, in the forms that it asks for."""
    return [
        Odd(f"opset-{version}-{kind}", lambda folder, v=version, b=build: save(folder / "model.onnx", b(v)))
        for version in versions
        for kind, build in (("convolutions", convolutions), ("recurrence", recurrence))
    ]


CONTROL_FLOW = [
    text("control-if-captures", HEAD + """g (bool b, float[1,4] x) => (float[1,4] y) <float[4,4] w, float[4] c> {
      h = MatMul(x, w)
      n = Relu(h)
      y = If (b) <then_branch = t () => (float[1,4] p) { m = MatMul(n, w) p = Add(m, c) },
                  else_branch = e () => (float[1,4] q) { q = Add(n, h) }>
    }"""),
    text("control-if-with-weights-inside", HEAD + """g (bool b, float[1,4] x) => (float[1,4] y) {
      y = If (b) <then_branch = t () => (float[1,4] p) <float[4] s = {1, 2, 3, 4}> { p = Mul(x, s) },
                  else_branch = e () => (float[1,4] q) <float[4] s = {4, 3, 2, 1}> { q = Mul(x, s) }>
    }"""),
    text("control-loop-in-loop", HEAD + """g (float[2] x) => (float[2] y) <int64 n = {2}, bool yes = {1}, float[2] k> {
      a = Mul(x, k)
      y = Loop (n, yes, a) <body = b (int64 i, bool go, float[2] v) => (bool more, float[2] w) {
        more = Identity(go)
        w = Loop (n, more, v) <body = b2 (int64 i2, bool go2, float[2] v2) => (bool more2, float[2] w2) {
          more2 = Identity(go2)
          w2 = Add(v2, k)
        }>
      }>
    }"""),
    text("control-loop-with-scan-output", HEAD + """g (float[1,3] x) => (float[4,1,3] ys) <int64 n = {4}, float[3,3] w> {
      h = MatMul(x, w)
      last, ys = Loop (n, , h) <body = b (int64 i, bool go, float[1,3] v) => (bool go_on, float[1,3] o, float[1,3] s) {
        go_on = Identity(go)
        m = MatMul(v, w)
        o = Tanh(m)
        s = Identity(o)
      }>
    }"""),
    text("control-loop-of-no-turns", HEAD + """g (float[2] x) => (float[2] y, float[K,2] ys) <int64 n = {0}> {
      y, ys = Loop (n, , x) <body = b (int64 i, bool go, float[2] v) => (bool go_on, float[2] w, float[2] s) {
        go_on = Identity(go) w = Add(v, v) s = Neg(w)
      }>
    }"""),
    text("control-scan", HEAD + """g (float[5,2] x) => (float[2] y, float[5,2] ys) <float[2] zero = {0, 0}> {
      y, ys = Scan <num_scan_inputs = 1, body = b (float[2] s, float[2] e) => (float[2] t, float[2] o) {
        t = Add(s, e) o = Identity(t) }> (zero, x)
    }"""),
    text("control-names-of-branches-collide", HEAD + """g (bool b, float[2] x) => (float[2] y) {
      n = Neg(x)
      a = If (b) <then_branch = t () => (float[2] p) { i = Abs(n) p = Neg(i) },
                  else_branch = e () => (float[2] p) { i = Neg(n) p = Abs(i) }>
      y = If (b) <then_branch = t () => (float[2] p) { i = Abs(a) p = Neg(i) },
                  else_branch = e () => (float[2] p) { p = Identity(a) }>
    }"""),
]  # fmt: skip

SEQUENCES = [
    text("sequence-split-and-concat", HEAD + """g (float[4,6] x) => (float[4,6] y) <float[6,6] w, int64 two = {2}> {
      h = MatMul(x, w)
      s = SplitToSequence <axis = 1> (h, two)
      c = ConcatFromSequence <axis = 1> (s)
      y = Relu(c)
    }"""),
    text("sequence-at", HEAD + """g (float[2,4] x) => (float[2,4] y) <float[4,4] w, int64 one = {1}> {
      h = MatMul(x, w)
      r = Relu(h)
      s = SequenceConstruct (h, r)
      y = SequenceAt (s, one)
    }"""),
    text("sequence-carried-by-a-loop", HEAD + """g (float[1,3] x) => (float[3,3] y) <int64 n = {3}, float[3] k> {
      m = Mul(x, k)
      empty = SequenceEmpty <dtype = 1> ()
      s = Loop (n, , empty) <body = b (int64 i, bool go, seq(float[1,3]) a) => (bool go_on, seq(float[1,3]) c) {
        go_on = Identity(go)
        c = SequenceInsert (a, m)
      }>
      y = ConcatFromSequence <axis = 0> (s)
    }"""),
    text("sequence-length", HEAD + """g (float[6,2] x) => (int64 n, float[6,2] y) {
      s = SplitToSequence <axis = 0> (x)
      n = SequenceLength (s)
      y = Neg(x)
    }"""),
    text("sequence-is-the-output", HEAD + """g (float[6,2] x) => (seq(float[2]) y) {
      y = SplitToSequence <axis = 0, keepdims = 0> (x)
    }""", "not a tensor"),
    text("sequence-is-the-input", HEAD + """g (seq(float[2]) x) => (int64 y) { y = SequenceLength (x) }""",
         "not a tensor"),
    text("sequence-optional-in-the-middle", HEAD + """g (float[2,4] x) => (float[2,4] y) <float[4,4] w> {
      h = MatMul(x, w)
      o = Optional (h)
      g = OptionalGetElement (o)
      y = Relu(g)
    }"""),
]  # fmt: skip

_LOCAL = '<ir_version: 8, opset_import: ["": 17, "local": 1]>\n'

FUNCTIONS = [
    text("function-in-function", _LOCAL + """g (float[2,4] x) => (float[2,4] y) <float[4,4] w> {
      h = local.dense(x, w) y = local.dense(h, w) }
    <opset_import: ["": 17, "local": 1], domain: "local"> dense (v, k) => (o) { m = MatMul(v, k) o = local.act(m) }
    <opset_import: ["": 17], domain: "local"> act (v) => (o) { s = Sigmoid(v) o = Mul(v, s) }"""),
    text("function-with-attributes", _LOCAL + """g (float[2,6] x) => (float[2,6] y) {
      h = local.act <a = 0.25> (x) y = local.act <a = 2.0> (h) }
    <opset_import: ["": 17], domain: "local"> act <a> (v) => (o) { o = LeakyRelu <alpha: float = @a> (v) }"""),
    text("function-with-a-branch", _LOCAL + """g (bool b, float[3] x) => (float[3] y) {
      h = local.pick(b, x) y = local.pick(b, h) }
    <opset_import: ["": 17], domain: "local"> pick (c, v) => (o) {
      n = Neg(v)
      o = If (c) <then_branch = t () => (float[3] p) { p = Add(n, v) },
                  else_branch = e () => (float[3] q) { q = Mul(n, v) }>
    }"""),
    text("function-whose-inner-names-are-those-outside", _LOCAL + """g (float[3] x) => (float[3] y) {
      h = Neg(x) m = local.f(h) y = local.f(m) }
    <opset_import: ["": 17], domain: "local"> f (x) => (y) { h = Abs(x) m = Add(h, x) y = Neg(m) }"""),
    text("function-of-another-opset", _LOCAL + """g (float[2,3,1] x) => (float[2,3] y) { y = local.f(x) }
    <opset_import: ["": 11], domain: "local"> f (x) => (y) { y = Squeeze <axes = [2]> (x) }""", "version 11"),
    text("function-of-another-opset-with-the-same-operators", _LOCAL + """g (float[3] x) => (float[3] y) { y = local.f(x) }
    <opset_import: ["": 18], domain: "local"> f (x) => (y) { y = Add(x, x) }""", "Opset mismatch"),
    text("function-unused", _LOCAL + """g (float[3] x) => (float[3] y) { y = Neg(x) }
    <opset_import: ["": 17], domain: "local"> f (x) => (y) { y = Abs(x) }"""),
]  # fmt: skip

SYMBOLIC = [
    text("symbolic-sizes-computed-from-the-shape", HEAD + """g (float[N,T,8] x) => (float[N,T,8] y)
      <float[8,8] w, int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}, int64[1] eight = {8}> {
      s = Shape(x) n = Gather(s, zero) t = Gather(s, one)
      flat_shape = Concat <axis = 0> (rest, eight)
      f = Reshape(x, flat_shape) m = MatMul(f, w)
      back = Concat <axis = 0> (n, t, eight)
      y = Reshape(m, back)
    }""", x=(2, 5, 8)),
    text("symbolic-sizes-shared", HEAD + """g (float[N,4] a, float[N,4] b) => (float[N,4] y) <float[4,4] w> {
      m = MatMul(a, w) y = Add(m, b) }""", a=(3, 4), b=(3, 4)),
    text("symbolic-sizes-without-names", HEAD + """g (float[?,4] x) => (float[?,4] y) <float[4,4] w> {
      m = MatMul(x, w) y = Relu(m) }""", x=(3, 4)),
    text("symbolic-size-of-minus-one", HEAD + """g (float[-1,4] x) => (float[-1,4] y) <float[4,4] w> {
      m = MatMul(x, w) y = Relu(m) }""", x=(3, 4)),
    text("symbolic-size-of-data", HEAD + """g (float[6] x) => (int64[1,K] y, float[6] z) { r = Relu(x) y = NonZero(r) z = Neg(r) }"""),
    text("symbolic-rows-that-are-selected", HEAD + """g (float[6,4] x, bool[6] keep) => (float[K,4] y) <float[4,4] w> {
      c = Compress <axis = 0> (x, keep) m = MatMul(c, w) y = Relu(m) }"""),
    text("symbolic-sizes-left-open", HEAD + "g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }", "open sizes"),
    text("symbolic-sizes-contradict", HEAD + """g (float[N,4] a, float[N,4] b) => (float[N,4] y) { y = Add(a, b) }""",
         "share the size", a=(3, 4), b=(2, 4)),
]  # fmt: skip


def _altered(
    name: str, source: str, alter: Callable[[onnx.ModelProto], object], refused: str | None = None
) -> Odd:
    def make(folder: Path) -> Path:
        proto = weighted(source)
        alter(proto)
        return save(folder / "model.onnx", proto)

    return Odd(name, make, {}, refused)


_DENSE = (
    HEAD
    + """g (float[2,4] x) => (float[2,4] y) <float[4,4] w, float[4] b, float[4] s> {
  [one] m = MatMul(x, w) [two] a = Add(m, b) [three] c = Mul(a, s) [four] y = Relu(c) }"""
)


def _rename_nodes(name: str) -> Callable[[onnx.ModelProto], object]:
    def rename(proto: onnx.ModelProto) -> None:
        for node in proto.graph.node:
            node.name = name

    return rename


def _repeat_initializer(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.add().CopyFrom(proto.graph.initializer[0])


def _output_twice(proto: onnx.ModelProto) -> None:
    proto.graph.output.add().CopyFrom(proto.graph.output[0])


def _input_twice(proto: onnx.ModelProto) -> None:
    proto.graph.input.add().CopyFrom(proto.graph.input[0])


def _weight_as_output(proto: onnx.ModelProto) -> None:
    proto.graph.output.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [4]))


def _input_as_output(proto: onnx.ModelProto) -> None:
    proto.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4]))


def _sparse(proto: onnx.ModelProto) -> None:
    (weight,) = (i for i in proto.graph.initializer if i.name == "b")
    proto.graph.initializer.remove(weight)
    values = numpy_helper.from_array(np.array([1.5, -2], np.float32), "b")
    indices = numpy_helper.from_array(np.array([0, 2], np.int64), "b_indices")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def _sparse_constant(proto: onnx.ModelProto) -> None:
    attribute = proto.graph.node[0].attribute[0]
    values = numpy_helper.from_array(np.array([1.5, -2], np.float32), "s")
    indices = numpy_helper.from_array(np.array([0, 2], np.int64), "indices")
    attribute.CopyFrom(helper.make_attribute("sparse_value", helper.make_sparse_tensor(values, indices, [4])))


def _non_finite(proto: onnx.ModelProto) -> None:
    for weight in proto.graph.initializer:
        if weight.name == "s":
            weight.CopyFrom(numpy_helper.from_array(np.array([1, np.inf, 1, 1], np.float32), "s"))


NAMES = [
    _altered("names-none", _DENSE, _rename_nodes("")),
    _altered("names-all-the-same", _DENSE, _rename_nodes("node"), "same node name"),
    _altered("names-like-the-values", _DENSE, _rename_nodes("m"), "same node name"),
    _altered("names-no-graph-name", _DENSE, lambda proto: proto.graph.ClearField("name"), "name"),
    text("names-with-strange-letters", HEAD + """g (float[2,4] x) => (float[2,4] y) <float[4,4] w> {
      ["a/b:c@d 'e' ä"] m = MatMul(x, w) ["f@g"] y = Relu(m) }"""),
    _altered("names-initializer-twice", _DENSE, _repeat_initializer, "not unique"),
    _altered("names-input-twice", _DENSE, _input_twice, "valid"),
    _altered("names-output-twice", _DENSE, _output_twice),
    text("names-value-twice", HEAD + "g (float[2] x) => (float[2] y) { a = Neg(x) a = Abs(x) y = Neg(a) }", "valid"),
    text("names-like-those-that-are-made", HEAD + """g (float[2,4] x) => (float[2,4] y) <float[4,4] w, float[4] w_q, float[4] x_q> {
      m_q = MatMul(x, w) m_q_1 = Add(m_q, w_q) m_dq = Mul(m_q_1, x_q) y = Relu(m_dq) }"""),
]  # fmt: skip

ZERO_SIZE = [
    text("zero-size-slice", HEAD + """g (float[2,4] x) => (float[2,4] y) <float[4,4] w, int64[1] at = {2}, int64[1] one = {1}> {
      h = MatMul(x, w) e = Slice(h, at, at, one) c = Concat <axis = 1> (h, e) y = Relu(c) }"""),
    text("zero-size-output", HEAD + """g (float[2,4] x) => (float[2,0] y, float[2,4] z) <int64[1] at = {2}, int64[1] one = {1}> {
      y = Slice(x, at, at, one) z = Relu(x) }"""),
    _altered("zero-size-weight", HEAD + """g (float[2,0] x) => (float[2,3] y) <float[3] b> { m = MatMul(x, w) y = Add(m, b) }""",
             lambda proto: proto.graph.initializer.append(numpy_helper.from_array(np.zeros((0, 3), np.float32), "w")), "size 0"),
    _altered("zero-size-inner-axis", HEAD + """g (float[2,4] x) => (float[2,3] y) <float[3] b, int64[1] at = {4}, int64[1] one = {1}> {
      e = Slice(x, at, at, one) m = MatMul(e, w) y = Add(m, b) }""",
             lambda proto: proto.graph.initializer.append(numpy_helper.from_array(np.zeros((0, 3), np.float32), "w"))),
    _altered("zero-size-no-output-channels", HEAD + """g (float[2,4] x) => (float[2,3] y) <float[4,3] v> {
      m = MatMul(x, v) n = MatMul(x, w) y = Concat <axis = 1> (m, n) }""",
             lambda proto: proto.graph.initializer.append(numpy_helper.from_array(np.zeros((4, 0), np.float32), "w"))),
    text("zero-size-batch", HEAD + """g (float[0,4] x) => (float[0,4] y) <float[4,4] w, float[4] b> {
      m = MatMul(x, w) a = Add(m, b) y = Relu(a) }""", "size 0"),
    text("zero-size-images", HEAD + """g (float[0,3,8,8] x) => (float[0,4,8,8] y) <float[4,3,3,3] w> {
      m = Conv <pads = [1,1,1,1]> (x, w) y = Relu(m) }""", "size 0"),
]  # fmt: skip

OTHERS = [
    _altered("other-weight-as-output", _DENSE, _weight_as_output),
    _altered("other-input-as-output", _DENSE, _input_as_output),
    _altered("other-sparse-weight", _DENSE, _sparse, "sparse"),
    _altered("other-sparse-constant", HEAD + """g (float[2,4] x) => (float[2,4] y) {
      s = Constant <value = float[4] {0, 0, 0, 0}> () a = Add(x, s) y = Relu(a) }""", _sparse_constant, "sparse"),
    _altered("other-infinite-weight", _DENSE, _non_finite),
    text("other-weight-in-two-roles", HEAD + """g (float[4,4] x) => (float[4,4] y) <float[4,4] w> {
      m = MatMul(x, w) n = MatMul(w, m) a = Add(n, w) y = Gemm <transB = 1> (a, w, w) }"""),
    text("other-constant-output", HEAD + """g (float[2] x) => (float[2] y, float[2] z) {
      z = Constant <value = float[2] {1, 2}> () y = Add(x, z) }"""),
    text("other-double", HEAD + """g (double[2,4] x) => (double[2,4] y) <double[4] b = {1, 2, 3, 4}> {
      a = Add(x, b) r = Relu(a) y = Mul(r, b) }"""),
    text("other-half", HEAD + """g (float16[2,4] x) => (float16[2,4] y) <float16[4] b = {1, 2, 3, 4}> {
      a = Add(x, b) r = Relu(a) y = Mul(r, b) }"""),
    text("other-strings", HEAD + """g (string[3] x, float[3] v) => (string[3] y, float[3] z) { y = Identity(x) z = Relu(v) }"""),
    text("other-no-inputs", HEAD + """g () => (float[2] y) <float[2] w = {1, -2}> { y = Relu(w) }"""),
    text("other-random", HEAD + """g (float[2,4] x) => (float[2,4] y) <float zero = {0}> {
      r = RandomNormalLike(x) n = Mul(r, zero) y = Add(x, n) }"""),
    text("other-empty-optional-inputs", HEAD + """g (float[3,2,4] x, float[1,2,4] h) => (float[3,1,2,4] y, float[2] z)
      <float[1,16,4] w, float[1,16,4] r, float[2] k = {1, 2}, float top = {1}> {
      y, , last = LSTM <hidden_size = 4> (x, w, r, , , h)
      z = Clip(k, , top) }"""),
]  # fmt: skip


def _external(name: str, write: Callable[[onnx.ModelProto, Path], None]) -> Odd:
    def make(folder: Path) -> Path:
        proto = weighted(_DENSE)
        write(proto, folder)
        return save(folder / "model.onnx", proto)

    return Odd(name, make)


def _move_out(tensor: TensorProto, location: str, offset: int | None, length: bool) -> bytes:
    content = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
    for kind in ("raw_data", "float_data"):
        tensor.ClearField(kind)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    if offset is not None:
        tensor.external_data.add(key="offset", value=str(offset))
    if length:
        tensor.external_data.add(key="length", value=str(len(content)))
    return content


def _one_file(proto: onnx.ModelProto, folder: Path) -> None:
    content = b""
    for tensor in proto.graph.initializer:
        content += b"\0" * (-len(content) % 4096)
        content += _move_out(tensor, "all.bin", len(content), length=True)
    (folder / "all.bin").write_bytes(content)


def _files_without_length(proto: onnx.ModelProto, folder: Path) -> None:
    (folder / "sub").mkdir()
    for tensor in proto.graph.initializer:
        content = _move_out(tensor, f"sub/{tensor.name}", None, length=False)
        (folder / "sub" / tensor.name).write_bytes(content)


def _one_place_for_two(proto: onnx.ModelProto, folder: Path) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name in ("b", "s"):
            (folder / "same.bin").write_bytes(_move_out(tensor, "same.bin", 0, length=True))


EXTERNAL = [
    _external("external-one-file", _one_file),
    _external("external-files-without-length", _files_without_length),
    _external("external-one-place-for-two", _one_place_for_two),
]

ALL = [*opsets(), *CONTROL_FLOW, *SEQUENCES, *FUNCTIONS, *SYMBOLIC, *NAMES, *ZERO_SIZE, *OTHERS, *EXTERNAL]
