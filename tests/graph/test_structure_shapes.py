"""Fewer taps, smaller pictures, cheaper functions: where they apply, and what refitting makes up for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeopt.graph import structure
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.moments import Statistics
from edgeopt.graph.regions import regions
from edgeopt.graph.structure import UNCHANGED, resolution
from edgeopt.graph.structure._knowledge import prepared
from edgeopt.graph.structure._resampling import resampled
from edgeopt.graph.structuring import Structures
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.testing.precision import RandomSamples, example

HEAD = '<ir_version: 8, opset_import: ["": 17]>'


def options(model: Model, change: str) -> list[tuple[str, ...]]:
    """What a change offers, site by site."""
    return [site.options for site in structure.change(change).sites(prepared(model, regions(model)))]


def errors(model: Model, change: str, option: str) -> tuple[float, float]:
    """Share of the outputs' energy that is lost, as cut and after refitting, on new samples."""
    samples = RandomSamples(model, 24)
    made = Structures(model, regions(model), samples, Statistics(model, samples))
    (site,) = structure.change(change).sites(prepared(model, regions(model)))
    found = []
    for refitted in (False, True):
        variant = made.variant({f"structure:{change}@{site.region}": option}, refitted=refitted)
        original, changed = Session(to_bytes(model.ir)), Session(to_bytes(variant.model.ir))
        error = energy = 0.0
        for feeds in RandomSamples(model, 8, seed=5).samples():
            (now,), (then,) = changed.run(feeds), original.run(feeds)
            error += float(((now - then) ** 2).sum())
            energy += float(((then - then.mean()) ** 2).sum())
        found.append(error / energy)
    return found[0], found[1]


def test_a_coarser_grid_holds_means() -> None:
    maps = np.random.default_rng(0).standard_normal((2, 12, 9, 5))
    pooled = maps.reshape(2, 4, 3, 3, 3, 5).mean(axis=(2, 4))
    np.testing.assert_allclose(resampled(maps, (2, 4, 3, 5)), pooled)
    ramp = np.arange(10.0)[None] + 0.5
    np.testing.assert_allclose(resampled(ramp, (1, 4)), np.array([[1.3, 3.7, 6.3, 8.7]]))
    assert resampled(maps, maps.shape) is maps


@pytest.mark.parametrize(
    ("conv", "out", "expected"),
    [
        ("Conv <pads = [2, 2, 2, 2]> (x, w)", "12,12", [(UNCHANGED, "3x3", "1x1")]),
        (
            "Conv <pads = [1, 1, 1, 1]> (x, w)",
            "10,10",
            [(UNCHANGED, "3x3")],
        ),  # a pixel of padding is left over
        ("Conv(x, w)", "8,8", []),
        ("Conv <pads = [2, 2, 2, 2], dilations = [2, 2]> (x, w)", "8,8", [(UNCHANGED, "3x3")]),
        ('Conv <auto_pad = "SAME_LOWER", strides = [2, 2]> (x, w)', "6,6", [(UNCHANGED, "3x3")]),
    ],
)
def test_taps_go_as_far_as_the_padding_reaches(
    conv: str, out: str, expected: list[tuple[str, ...]], tmp_path: Path
) -> None:
    model = example(
        f"{HEAD} one (float[1,3,12,12] x) => (float[1,4,{out}] y) <float[4,3,5,5] w> {{ y = {conv} }}",
        tmp_path,
    )
    assert options(model, "kernel_size") == expected


def test_taps_that_repeat_others_are_made_up_for(tmp_path: Path) -> None:
    """On maps that are constant along rows and columns, one tap can do what nine did (but at the border)."""
    model = example(
        f"""{HEAD} flat (float[1,3,1,1] x) => (float[1,5,9,9] y)
        <float[5,3,3,3] w, float[1,1,9,9] ones = {{{", ".join(["1"] * 81)}}}> {{
            m = Mul(x, ones) y = Conv <pads = [1, 1, 1, 1], dilations = [1, 1]> (m, w)
        }}""",
        tmp_path,
    )
    cut, refitted = errors(model, "kernel_size", "1x1")
    assert refitted < 0.35 < 0.7 < cut  # 32 of 81 places are border


REFUSED = {
    "y = Conv(x, w1)": ("float[1,4,16,16] y", "output 'y' would have another shape"),
    "c = Conv(x, w1) f = Flatten(c) y = MatMul(f, w2)": ("float[1,5] y", "Flatten"),
    "c = Conv(x, w1) r = Reshape(c, flat) y = MatMul(r, w2)": ("float[1,5] y", "Reshape"),
    "c = Conv(x, w1) a = Add(c, places) y = GlobalAveragePool(a)": (
        "float[1,4,1,1] y",
        "contradict|holds the size",
    ),
    "c = Conv(x, w1) a = Add(c, column) y = GlobalAveragePool(a)": (
        "float[1,4,1,1] y",
        "contradict|holds the size",
    ),
    "c = Conv(x, w1) y = ReduceSum <keepdims = 0> (c, axes)": ("float[1,4] y", "ReduceSum"),
    "c = Conv(x, w3) y = GlobalAveragePool(c)": ("float[1,4,1,1] y", "nothing to write|contradict"),
    "s = Shape(x) z = Cast <to = 1> (s) c = Conv(x, w1) p = GlobalMaxPool(c) m = ReduceMax <keepdims = 0> (z)"
    " y = Mul(p, m)": ("float[1,4,1,1] y", None),  # constant before anything is made smaller
    "c = Conv(x, w1) y = GlobalAveragePool(c)": ("float[1,4,1,1] y", None),
}


@pytest.mark.parametrize("body", REFUSED)
def test_a_picture_gets_smaller_only_where_nothing_needs_its_size(body: str, tmp_path: Path) -> None:
    output, reason = REFUSED[body]
    model = example(
        f"""{HEAD} one (float[1,3,16,16] x) => ({output})
        <float[4,3,1,1] w1, float[1024,5] w2, float[4,3,15,15] w3, float[4,16,16] places, float[16,1] column,
         int64[2] flat = {{1, 1024}}, int64[2] axes = {{2, 3}}> {{ {body} }}""",
        tmp_path,
    )
    found = resolution.refusals(prepared(model, regions(model)))
    if reason is None:
        assert not found
        assert options(model, "resolution") == [(UNCHANGED, "87.5%", "75%", "62.5%", "50%")]
    else:
        (told,) = found.values()
        assert any(part in told for part in reason.split("|")), told
        assert not options(model, "resolution")


def test_layers_on_smaller_maps_are_refitted_to_means_of_what_they_computed(tmp_path: Path) -> None:
    model = example(
        f"""{HEAD} pictures (float[1,3,20,20] x) => (float[1,6] y)
        <float[8,3,3,3] w1, float[8] b1, float[8,8,3,3] w2, float[8,6] w3> {{
            c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r1 = Relu(c1)
            c2 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r1, w2) a = Relu(c2)
            p = ReduceMean <axes = [2, 3], keepdims = 0> (a) y = MatMul(p, w3)
        }}""",
        tmp_path,
    )
    cut, refitted = errors(model, "resolution", "50%")
    assert refitted < 0.7 * cut


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("f = Mish(h)", [(UNCHANGED, "HardSwish", "Relu")]),
        ("f = HardSwish(h)", [(UNCHANGED, "Relu")]),
        ("f = Softplus(h)", [(UNCHANGED, "Relu")]),
        ("s = Sigmoid(h) f = Mul(s, h)", [(UNCHANGED, "Relu")]),
        ("f = Tanh(h)", [(UNCHANGED, "Clip")]),
        ("f = Sigmoid(h)", []),  # a rewrite is as good
        ("f = Relu(h)", []),
        ("s = Softplus(h) t = Tanh(s) f = Mul(t, h)", [(UNCHANGED, "HardSwish", "Relu")]),
        ("s = Softplus(h) t = Tanh(s) g = Mul(t, h) f = Add(g, s)", [(UNCHANGED, "Relu")]),  # a Softplus
    ],
)
def test_functions_are_known_by_operator_and_by_their_pieces(
    body: str, expected: list[tuple[str, ...]], tmp_path: Path
) -> None:
    model = example(
        f"""{HEAD.replace("17", "18")} one (float[4,8] x) => (float[4,3] y)
        <float[8,16] w1, float[16,3] w2> {{
            h = MatMul(x, w1) {body} y = MatMul(f, w2)
        }}""",
        tmp_path,
    )
    assert options(model, "activation") == expected


def test_the_function_of_an_output_stays(tmp_path: Path) -> None:
    model = example(
        f"{HEAD} one (float[4,8] x) => (float[4,3] y) <float[8,3] w1> {{ h = MatMul(x, w1) y = Tanh(h) }}",
        tmp_path,
    )
    assert not options(model, "activation")


def test_the_layer_behind_a_cheaper_function_is_refitted(tmp_path: Path) -> None:
    model = example(
        f"""{HEAD} one (float[16,8] x) => (float[16,3] y)
        <float[8,24] w1, float[24,3] w2, float[3] b2, float r = {{1.4142135}}, float one = {{1}},
         float half = {{0.5}}> {{
            h = MatMul(x, w1) d = Div(h, r) e = Erf(d) p = Add(e, one) m = Mul(h, p) f = Mul(m, half)
            y = Gemm(f, w2, b2)
        }}""",
        tmp_path,
    )
    near, refitted = errors(model, "activation", "HardSwish")
    assert refitted < near < 0.01
    cut, refitted = errors(model, "activation", "Relu")
    assert refitted < 0.5 * cut
