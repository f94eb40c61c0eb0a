"""What every device profile must hold to: run these checks on a new one.

@pytest.mark.parametrize("check", devices.CHECKS)
def test_my_device(check):
    check(Path("my-board.toml"))
"""

from __future__ import annotations

from pathlib import Path

from edgeopt.boards import profiles, schema
from edgeopt.boards.roofline import Roofline
from edgeopt.boards.virtual.cycles import CycleModel, cache_arguments
from edgeopt.core.workload import NodeCost

CONVOLUTION = NodeCost("conv", "Conv", 200_000_000, 1_000_000, 1_000_000, "float32")


def check_schema(path: Path) -> None:
    """Known keys, units, ranges, sources, and nothing that contradicts something else."""
    problems = schema.problems(path)
    _expect(not problems, f"{path.name}: {'; '.join(problems)}")


def check_windows(path: Path) -> None:
    """Each stage measures enough for the percentile that it claims, and never gives up on a finalist."""
    stages = profiles.protocols(profiles.check(path))
    _expect(stages["screen"].min_runs >= 64, "screen: 64 runs bound the p90")
    _expect(stages["rank"].min_runs >= 130, "rank: 130 runs bound the p95")
    final = stages["final"]
    _expect(final.processes >= 5, "final: five processes or more")
    _expect(final.processes * final.min_runs >= 662, "final: 662 runs bound the p99")
    _expect(final.stop_ratio is None, "final: a finalist is never given up")
    _expect(final.enough_ci is None, "final: how many processes there are does not depend on what they say")
    for stage in stages.values():
        _expect(stage.slice_s <= stage.window_s < stage.deadline_s, f"{stage.name}: slice, window, deadline")


def check_prediction(path: Path) -> None:
    """Where it has a `[model]`, more threads are never slower, and no core beats twice its peak."""
    profile = profiles.check(path)
    if "model" not in profile.facts:
        return
    roofline = Roofline.of(profile)
    times = [roofline.latency([CONVOLUTION], threads).value for threads in range(1, roofline.cores + 1)]
    _expect(times == sorted(times, reverse=True), f"more threads are slower: {times} ms")
    gflops = CONVOLUTION.flops / times[0] / 1e6
    _expect(gflops < 2 * roofline.peak_gflops("float32", 1), f"{gflops:.0f} GFLOP/s on one core")


def check_emulation(path: Path) -> None:
    """Where it has an `[emulation]`, its cycle model can be made, of caches that can be simulated."""
    profile = profiles.check(path)
    if "emulation" not in profile.facts:
        return
    CycleModel.of(profile)
    for size_bytes, ways in cache_arguments(profile):
        sets = size_bytes / ways / 64
        _expect(sets == int(sets) and int(sets) & (int(sets) - 1) == 0, f"{sets} sets are no power of two")


CHECKS = (check_schema, check_windows, check_prediction, check_emulation)


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
