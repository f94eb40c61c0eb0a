"""The builder: what it writes, what it does not write twice, and what it leaves behind when it fails."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeopt.core.errors import CandidateFailed, ConfigError, EdgeoptError
from edgeopt.graph.build_index import INDEX
from edgeopt.graph.builder import Builder, saturates, session_options, wants_unsigned
from edgeopt.graph.calibration import collect
from edgeopt.graph.model import freeze, load
from edgeopt.graph.moments import Statistics
from edgeopt.graph.space import search_space
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.testing.precision import Bench, RandomSamples, random_candidates
from tests.graph import networks
from tests.graph.made import with_external

CHANNEL = "int8_static_channel"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.of(networks.network(tmp_path, networks.CNN), tmp_path)


def again(bench: Bench, **changes: int) -> Builder:
    """A builder that resumes what another began, with the same ranges."""
    limits = {"max_opset": 25, "max_ir": 12} | changes
    ranges = collect(bench.model, bench.samples)
    statistics = Statistics(bench.model, bench.samples)
    return Builder(bench.model, bench.space, ranges, folder(bench), statistics=statistics, **limits)


def folder(bench: Bench) -> Path:
    return bench.builder.build(bench.space.default()).path.parent


@contextmanager
def full_disk(room_bytes: int) -> Iterator[None]:
    """No file can grow beyond `room_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_unchanged_candidate_is_the_original_byte_for_byte(bench: Bench) -> None:
    artifact = bench.builder.build(bench.space.default())
    assert artifact.path.read_bytes() == bench.model.path.read_bytes()
    assert artifact.sha256 == bench.model.digest
    assert (artifact.opset, artifact.ir_version) == (17, 8)


def test_the_original_of_open_shapes_is_kept_too(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }'
    path = tmp_path / "open.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    frozen = freeze(load(path), {"x": (2, 4)})
    space = search_space(frozen, lossy=False, cores=1)
    built = Builder(frozen, space, None, tmp_path / "built", 25, 12).build(space.default())
    assert built.path.read_bytes() == path.read_bytes()


def test_external_data_is_put_into_the_file(tmp_path: Path) -> None:
    path = with_external(tmp_path, "weights.bin", data=np.ones(64, np.float32).tobytes())
    frozen = freeze(load(path), {})
    space = search_space(frozen, lossy=False, cores=1)
    built = Builder(frozen, space, None, tmp_path / "built", 25, 12).build(space.default())
    (tmp_path / "weights.bin").unlink()
    (found,) = Session(built.path).run({"x": np.zeros(64, np.float32)})
    assert (found == 1).all()


def test_runtime_decisions_share_one_file(bench: Bench) -> None:
    first, second = (bench.builder.build(bench.space.candidate({"runtime:threads": n})) for n in "12")
    assert first.path == second.path
    assert (first.session_options["threads"], second.session_options["threads"]) == (1, 2)
    assert first.candidate_key != second.candidate_key


def test_session_options_are_what_the_runtime_understands(bench: Bench) -> None:
    chosen = {
        "runtime:threads": "1",
        "runtime:graph_optimization_level": "basic",
        "runtime:allow_spinning": "0",
    }
    candidate = bench.space.candidate(chosen)
    expected = {"threads": 1, "graph_optimization_level": "basic", "allow_spinning": False}
    assert session_options(candidate) == expected
    assert Session(bench.builder.build(candidate).path, expected).inputs


def test_files_are_named_by_their_content(bench: Bench) -> None:
    for candidate in random_candidates(bench.space, 5, seed=3):
        artifact = bench.builder.build(candidate)
        content = artifact.path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact.sha256 == artifact.path.stem
        assert artifact.size_bytes == len(content)
        proto = onnx.load_from_string(content)
        assert proto.ir_version == artifact.ir_version
        assert {o.domain: o.version for o in proto.opset_import}[""] == artifact.opset


def test_the_same_decisions_give_the_same_bytes(bench: Bench, tmp_path: Path) -> None:
    ranges = collect(bench.model, bench.samples)
    other = Builder(
        bench.model, bench.space, ranges, tmp_path / "elsewhere", 25, 12,
        statistics=Statistics(bench.model, bench.samples),
    )  # fmt: skip
    for candidate in random_candidates(bench.space, 8, seed=4):
        assert other.build(candidate).sha256 == bench.builder.build(candidate).sha256


def test_a_resumed_run_builds_nothing_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = list(random_candidates(bench.space, 4, seed=5))
    built = [bench.builder.build(candidate) for candidate in candidates]
    resumed = again(bench)

    def rebuilt(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(Builder, "_content", rebuilt)
    assert [resumed.build(candidate) for candidate in candidates] == built


def test_a_torn_index_costs_only_what_was_torn(bench: Bench) -> None:
    candidates = list(random_candidates(bench.space, 3, seed=6))
    built = [bench.builder.build(candidate) for candidate in candidates]
    index = folder(bench) / INDEX
    index.write_bytes(index.read_bytes()[:-20])
    resumed = again(bench)
    assert [resumed.build(candidate) for candidate in candidates] == built
    assert [again(bench).build(candidate) for candidate in candidates] == built


def test_a_lost_file_is_built_again(bench: Bench) -> None:
    candidate = bench.everywhere(CHANNEL, "on")
    artifact = bench.builder.build(candidate)
    content = artifact.path.read_bytes()
    artifact.path.unlink()
    assert bench.builder.build(candidate).path.read_bytes() == content


def test_a_full_disk_is_an_error_and_leaves_nothing_half_written(bench: Bench) -> None:
    candidate, place = bench.everywhere(CHANNEL, "on"), folder(bench)
    before = sorted(place.iterdir())
    with full_disk(4096), pytest.raises(EdgeoptError, match="cannot write") as raised:
        bench.builder.build(candidate)
    assert raised.value.exit_code == 1
    assert sorted(place.iterdir()) == before
    assert bench.error(candidate) < 0.1


def test_a_full_disk_under_the_index_is_survived(bench: Bench) -> None:
    candidates = list(random_candidates(bench.space, 2, seed=8))
    index = folder(bench) / INDEX
    artifact = bench.builder.build(candidates[0])
    room = artifact.size_bytes * 2
    index.write_bytes(index.read_bytes() + b" " * (room - 30 - index.stat().st_size))
    with full_disk(room), pytest.raises(EdgeoptError, match="cannot write"):
        bench.builder.build(candidates[1])
    assert bench.builder.build(candidates[1]).path.exists()
    assert again(bench).build(candidates[1]).path.exists()


def test_a_candidate_that_needs_a_newer_runtime_fails_with_the_reason(bench: Bench) -> None:
    with pytest.raises(CandidateFailed, match="opset 17"):
        again(bench, max_opset=15).build(bench.everywhere(CHANNEL))


def test_an_original_with_too_new_an_ir_version_is_lowered(bench: Bench) -> None:
    lowered = Builder(bench.model, bench.space, None, folder(bench).parent / "old", 25, 7)
    with pytest.raises(CandidateFailed, match="IR version"):
        lowered.build(bench.space.default())
    proto = onnx.load(bench.model.path)
    proto.ir_version = 13
    newer = bench.model.path.parent / "newer.onnx"
    onnx.save(proto, newer)
    frozen = freeze(load(newer), {})
    space = search_space(frozen, lossy=False, cores=1)
    built = Builder(frozen, space, None, folder(bench).parent / "newer", 25, 9).build(space.default())
    assert built.ir_version is not None
    assert built.ir_version <= 9


def test_a_candidate_of_another_space_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError):
        bench.builder.build(type(bench.space.default())("other", ()))


def test_rewritten_has_the_rewrites_and_no_quantization(bench: Bench) -> None:
    proto = onnx.load_from_string(bench.builder.rewritten(bench.everywhere(CHANNEL, "on")))
    operators = {node.op_type for node in proto.graph.node}
    assert "BatchNormalization" not in operators
    assert "DequantizeLinear" not in operators


def test_the_build_key_follows_all_that_the_bytes_depend_on(bench: Bench) -> None:
    candidate = bench.everywhere(CHANNEL)
    other_ranges = collect(bench.model, RandomSamples(bench.model, seed=9))
    builders = [
        bench.builder,
        again(bench, max_opset=18),
        Builder(bench.model, bench.space, other_ranges, folder(bench), 25, 12),
        Builder(bench.model, bench.space, None, folder(bench), 25, 12),
        Builder(bench.model, bench.space, other_ranges, folder(bench), 25, 12, unsigned=True),
        Builder(bench.model, bench.space, other_ranges, folder(bench), 25, 12, seven_bits=True),
    ]
    assert len({builder.build_key(candidate) for builder in builders}) == len(builders)
    assert bench.builder.build_key(candidate) == again(bench).build_key(candidate)
    assert bench.builder.build_key(candidate) != bench.builder.build_key(bench.space.default())


def test_the_model_itself_is_never_changed(bench: Bench) -> None:
    before = bench.builder.rewritten(bench.space.default())
    for candidate in random_candidates(bench.space, 5, seed=10):
        bench.builder.build(candidate)
    assert bench.builder.rewritten(bench.space.default()) == before


@pytest.mark.parametrize(("machine", "unsigned"), [("x86_64", True), ("aarch64", False), ("armv7l", False)])
def test_the_form_of_int8_activations_follows_the_machine(machine: str, unsigned: bool) -> None:
    assert wants_unsigned(machine) is unsigned


SKYLAKE = "fpu sse2 ssse3 sse4_1 sse4_2 avx fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl"
ICE_LAKE = f"{SKYLAKE} avx512vbmi avx512ifma avx512_vbmi2 avx512_vnni avx512_bitalg avx512_vpopcntdq"
ALDER_LAKE_N = "fpu sse2 ssse3 sse4_1 sse4_2 avx fma avx2 avx_vnni"
CORTEX_A72 = "fp asimd evtstrm crc32 cpuid"


@pytest.mark.parametrize(
    ("machine", "features", "expected"),
    [
        ("x86_64", SKYLAKE, True),
        ("x86_64", ICE_LAKE, False),
        ("x86_64", ALDER_LAKE_N, False),
        ("x86_64", "", True),
        ("aarch64", CORTEX_A72, False),
    ],
    ids=["avx512 without vnni", "avx512_vnni", "avx_vnni", "unknown", "arm"],
)
def test_weights_have_seven_bits_where_products_would_saturate(
    machine: str, features: str, expected: bool
) -> None:
    """By the `flags` and `Features` lines that Linux gives for such processors in /proc/cpuinfo."""
    assert saturates(machine, features.split()) is expected


@pytest.mark.parametrize("scheme", [CHANNEL, "int8_static_tensor", "int8_dynamic"])
@pytest.mark.parametrize("kind", networks.ALL)
def test_two_products_of_seven_bits_fit_sixteen(kind: str, scheme: str, tmp_path: Path) -> None:
    seven = Bench.of(networks.network(tmp_path, networks.ALL[kind]), tmp_path, unsigned=True, seven_bits=True)
    chosen = dict(seven.everywhere(scheme).decisions)
    for rounding in ("nearest", "least_squares"):
        candidate = seven.space.candidate({**chosen, "quantization:weights": rounding})
        proto = onnx.load(seven.builder.build(candidate).path)
        rows = {node.input[0] for node in proto.graph.node if node.op_type == "Gather"}  # no product
        weights = [
            numpy_helper.to_array(value).astype(int)
            for value in proto.graph.initializer
            if value.data_type == onnx.TensorProto.INT8 and value.name not in rows
        ]
        assert weights
        assert max(2 * 255 * int(np.abs(weight).max()) for weight in weights) < 2**15
        assert seven.error(candidate) < 0.15
