"""The small models do what their time is taken for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgeopt.graph import kernels

GROUPS = kernels.groups(1 << 20)
KERNELS = [(kernel, group.feeds) for group in GROUPS for kernel in group.kernels]


def session(kernel: kernels.Kernel, profile: str | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(kernel.content, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("kernel", "feeds"), KERNELS, ids=lambda one: getattr(one, "name", ""))
def test_a_kernel_runs_and_gives_back_little(kernel: kernels.Kernel, feeds: Mapping[str, Any]) -> None:
    (result,) = session(kernel).run(None, dict(feeds))
    assert np.isfinite(result).all()
    assert result.nbytes <= 4 * kernels.SIDE**2


@pytest.mark.parametrize(
    ("name", "operator", "count"),
    [("copy", "Concat", 2), ("fill", "Concat", 1), ("dispatch", "Sin", kernels.LONG)],
)
def test_the_optimizer_leaves_what_is_measured(tmp_path: Path, name: str, operator: str, count: int) -> None:
    kernel, feeds = next((k, f) for k, f in KERNELS if k.name == name)
    running = session(kernel, str(tmp_path / "profile"))
    running.run(None, dict(feeds))
    events = json.loads(Path(running.end_profiling()).read_text())
    kernels_run = [event for event in events if event["name"].endswith("_kernel_time")]
    assert sum(event["args"]["op_name"] == operator for event in kernels_run) == count


def test_what_is_built_on_a_base_says_which() -> None:
    names = {kernel.name for kernel, _ in KERNELS}
    assert {kernel.base for kernel, _ in KERNELS if kernel.base} == {"fill", "short"} <= names
