"""A predicted board answers from its profile, says so, and knows nothing that a model cannot know."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgeopt.boards import profiles
from edgeopt.boards.board import Board
from edgeopt.boards.predicted import PredictedBoard
from edgeopt.boards.roofline import Roofline
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError, CandidateFailed, ConfigError, ModelError
from edgeopt.core.measurement import Measurement
from edgeopt.core.measurement import Protocol as MeasuringProtocol
from edgeopt.core.workload import Compute, NodeCost

SCREEN = MeasuringProtocol("screen", 1, 64, 2.0, 0.5, 3.0, 60.0)


def cost(compute: Compute = "float32", *, flops: int = 100_000_000, size: int = 4_000_000) -> NodeCost:
    return NodeCost("conv", "Conv", flops, size, size // 4, compute)


def artifact(name: str = "a", **options: object) -> Artifact:
    return Artifact(name, Path(f"/{name}.onnx"), name, 1, session_options=options)


def board(*costs: NodeCost, device: str = "rpi4") -> PredictedBoard:
    return PredictedBoard(profiles.load(device), lambda _, __: costs, {"onnxruntime": "1.28.0"})


def measured(board: PredictedBoard, *artifacts: Artifact) -> list[Measurement]:
    results = board.measure(artifacts, {}, SCREEN)
    assert all(isinstance(result, Measurement) for result in results)
    return [result for result in results if isinstance(result, Measurement)]


def test_it_is_a_board_and_every_figure_says_predicted() -> None:
    predicted: Board = board(cost())
    with predicted:
        (result,) = measured(board(cost()), artifact())
    assert (predicted.provenance, result.provenance, result.latency.source) == (
        "predicted", "predicted", "roofline",
    )  # fmt: skip
    assert "predicted" in str(result.latency)


def test_a_figure_has_an_error_bar_of_about_two() -> None:
    (result,) = measured(board(cost()), artifact())
    assert 1.8 < result.latency.high / result.latency.value < 2.5
    assert result.latency.high / result.latency.value == pytest.approx(
        result.latency.value / result.latency.low
    )


def test_what_a_model_cannot_know_is_unknown() -> None:
    (result,) = measured(board(cost()), artifact())
    unknown = (
        result.p90_ms, result.p99_ms, result.cold_start_ms, result.first_inference_ms, result.peak_rss_bytes,
        result.energy_mj, result.throttled, result.drift, result.cpu_utilization,
    )  # fmt: skip
    assert unknown == (None,) * len(unknown)
    assert result.latencies_ms == ()


def test_artifacts_are_related_to_the_first() -> None:
    slow = PredictedBoard(
        profiles.load("rpi4"), lambda a, _: [cost()] * (2 if a.candidate_key == "slow" else 1), {}
    )
    control, other = measured(slow, artifact("control"), artifact("slow"))
    assert (control.control_ratio, other.control_ratio) == (1.0, pytest.approx(2.0))


def test_more_threads_help_and_never_beyond_the_cores() -> None:
    one, two, four = measured(board(cost()), artifact(threads=1), artifact(threads=2), artifact(threads=4))
    assert one.p50_ms > two.p50_ms > four.p50_ms
    assert one.p50_ms / four.p50_ms < 4
    with pytest.raises(ConfigError, match="--threads 5: predicted has 4 cores"):
        measured(board(cost()), artifact(threads=5))


def test_the_default_number_of_threads_is_every_core() -> None:
    default, zero, four = measured(board(cost()), artifact(), artifact(threads=0), artifact(threads=4))
    assert default.p50_ms == zero.p50_ms == four.p50_ms


def test_int8_gains_more_where_there_is_a_dot_product() -> None:
    def gain(device: str) -> float:
        there = Roofline.of(profiles.load(device))
        work = cost(flops=10_000_000_000, size=1)
        int8 = cost("int8", flops=10_000_000_000, size=1)
        return there.latency([work], 1).value / there.latency([int8], 1).value

    assert gain("rpi5") > 1.2 * gain("rpi4") > 1.2


def test_float16_gains_only_where_the_core_computes_with_it() -> None:
    def gain(device: str) -> float:
        there = Roofline.of(profiles.load(device))
        return there.peak_gflops("float16", 4) / there.peak_gflops("float32", 4)

    assert (gain("rpi5"), gain("rpi4")) == (2.0, 1.0)


def test_a_boundary_between_precisions_costs_its_traffic() -> None:
    there = Roofline.of(profiles.load("rpi4"))
    boundary = NodeCost("q", "QuantizeLinear", 1_000_000, 4_000_000, 1_000_000, "float32")
    assert there.latency([boundary], 4).value > 0.5  # ms for 5 MB on a Pi 4, more than many a layer


def test_what_fits_into_the_cache_is_cheaper() -> None:
    def ms_per_mb(megabytes: float) -> float:
        moved = round(megabytes * 1e6)
        node = NodeCost("relu", "Relu", 0, moved // 2, moved // 2, "float32")
        there = Roofline.of(profiles.load("rpi4"))
        return (there.latency([node], 4).value - there.node_overhead_us / 1e3) / megabytes

    assert ms_per_mb(0.5) < ms_per_mb(50) / 3


def test_weights_that_stay_in_the_cache_are_cheaper() -> None:
    def ms(layers: int) -> float:
        weights = NodeCost("fc", "Gemm", 0, 400_000, 0, "float32", weight_bytes=400_000)
        return Roofline.of(profiles.load("rpi4")).latency([weights] * layers, 4).value / layers

    assert ms(1) < ms(10)


def test_the_profile_of_nodes_adds_up_to_the_whole() -> None:
    costs = [cost(), NodeCost("pool", "MaxPool", 1000, 4000, 1000, "float32")]
    predicted = board(*costs)
    by_node = predicted.profile(artifact(), {}, runs=3)
    assert set(by_node) == {"conv", "pool"}
    assert sum(by_node.values()) == pytest.approx(measured(predicted, artifact())[0].p50_ms)


def test_the_share_of_the_ceiling_is_between_0_and_1() -> None:
    (result,) = measured(board(cost()), artifact())
    assert result.roofline_fraction is not None
    assert 0 < result.roofline_fraction <= 1


def test_a_graph_that_cannot_be_counted_fails_its_candidate_and_no_other() -> None:
    def workload(artifact: Artifact, shapes: Mapping[str, tuple[int, ...]]) -> list[NodeCost]:
        if artifact.candidate_key == "odd":
            raise ModelError("what 'If_3' (If) costs cannot be told from the graph")
        return [cost()]

    predicted = PredictedBoard(profiles.load("rpi4"), workload, {})
    good, odd = predicted.measure([artifact(), artifact("odd")], {}, SCREEN)
    assert isinstance(good, Measurement)
    assert isinstance(odd, CandidateFailed)
    assert "If_3" in odd.message


def test_the_latency_and_the_nodes_are_those_of_the_shapes_fed() -> None:
    def workload(artifact: Artifact, shapes: Mapping[str, tuple[int, ...]]) -> list[NodeCost]:
        return [cost(flops=100_000_000 * shapes["x"][0])]

    predicted = PredictedBoard(profiles.load("rpi4"), workload, {})
    for batch in (1, 4):
        feeds = {"x": np.zeros((batch, 3), np.float32)}
        (result,) = predicted.measure([artifact()], feeds, SCREEN)
        assert isinstance(result, Measurement)
        expected = predicted.roofline.latency([cost(flops=100_000_000 * batch)], 4).value
        assert result.p50_ms == pytest.approx(expected)
        assert sum(predicted.profile(artifact(), feeds, runs=3).values()) == pytest.approx(expected)


def test_it_computes_nothing() -> None:
    with pytest.raises(BoardError, match="predicted, not there") as caught:
        board(cost()).infer(artifact(), [])
    assert "boards add" in str(caught.value.hint)


def test_its_facts_are_those_of_the_profile() -> None:
    facts = board(cost(), device="rpi3bplus").facts
    assert (facts.machine, facts.cores, facts.core_parts[0]) == ("aarch64", 4, "0xd03")
    assert facts.ram_bytes == 1 << 30
    assert board(cost(), device="rpi4").facts.ram_bytes is None  # sold in three sizes
    assert facts.epoch != board(cost(), device="rpi5").facts.epoch


def test_nothing_is_predicted_for_this_machine() -> None:
    with pytest.raises(ConfigError, match="local cannot be predicted") as caught:
        PredictedBoard(profiles.load("local"), lambda _, __: [], {})
    assert "--board" in str(caught.value.hint)
