"""What is learnt from the original's outputs: better or nothing, in time, the same for the same seed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeopt.core.candidate import DISTILLED, RECOVERY
from edgeopt.core.errors import CandidateFailed
from edgeopt.graph import structure
from edgeopt.graph.builder import Builder
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.moments import Statistics
from edgeopt.graph.structure._distilled import Learnt, LearntStore
from edgeopt.graph.structuring import Structures
from edgeopt.graph.training.program import Program
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.testing.precision import MAX_IR, MAX_OPSET, RandomSamples, example, search_space

NET = """<ir_version: 8, opset_import: ["": 13]> net (float[1, 6] x) => (float[1, 4] y)
<float[6, 24] w1, float[24] b1, float[24, 24] w2, float[24] b2, float[24, 4] w3> {
    a = Gemm(x, w1, b1) r = Tanh(a) b = Gemm(r, w2, b2) s = Tanh(b) y = Gemm(s, w3)
}"""


def structures(
    model: Model, *, seed: int = 0, learnt_in: Path | None = None
) -> tuple[Structures, dict[str, str]]:
    """And all widths at their smallest."""
    space = search_space(model, lossy=True, cores=1, structure=True)
    part = RandomSamples(model, 48, seed=1)
    chosen = {p.site: p.options[-1] for p in space.points if p.family == "structure" and p.name != "low_rank"}
    assert chosen
    made = Structures(
        model, space.regions, part, Statistics(model, part),
        unlabelled=RandomSamples(model, 300, seed=2), seed=seed, learnt_in=learnt_in,
    )  # fmt: skip
    return made, chosen


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most as many steps as tests have patience for."""
    monkeypatch.setattr("edgeopt.graph.training.distil.LADDER", (32, 64, 250))


@pytest.fixture
def net(tmp_path: Path) -> Model:
    return example(NET, tmp_path)


def error(model: bytes, original: Model) -> float:
    """On samples that nobody has seen."""
    ours, theirs = Session(model), Session(to_bytes(original.ir))
    samples = RandomSamples(original, 100, seed=3).samples()
    return float(np.mean([np.square(ours.run(s)[0] - theirs.run(s)[0]).mean() for s in samples]))


def test_a_badly_cut_model_learns(net: Model, tmp_path: Path) -> None:
    made, chosen = structures(net, learnt_in=tmp_path / "learnt")
    learnt = made.distil(chosen, budget_s=20, has_classes=False)
    assert learnt.is_better, learnt.facts
    assert learnt.facts["loss_after"] < 0.8 * learnt.facts["loss_before"]
    assert (learnt.facts["samples"], learnt.facts["held_out"]) == (278, 70)
    refitted, distilled = (made.variant(chosen, distilled=which).model.ir for which in (False, True))
    assert error(to_bytes(distilled), net) < 0.8 * error(to_bytes(refitted), net)

    again, _ = structures(net, learnt_in=tmp_path / "learnt")
    kept = again.distil(chosen, budget_s=0, has_classes=False)  # from its file: there is no time to train
    assert kept.digest == learnt.digest
    assert kept.facts == learnt.facts


def test_the_same_seed_gives_the_same_weights_and_torch_is_left_as_it_was(
    net: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeopt.graph.training.distil.LADDER", (32,))  # whatever the machine's speed
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    digests = []
    for seed in (0, 0, 1):
        made, chosen = structures(net, seed=seed)
        digests.append(made.distil(chosen, budget_s=60, has_classes=True).digest)
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def ticking(step_s: float) -> Callable[[], float]:
    """Time that goes on whenever somebody looks."""
    count = itertools.count()
    return lambda: step_s * next(count)


def test_it_ends_when_its_time_is_over(net: Model) -> None:
    made, chosen = structures(net)
    # A look at this clock takes a second: three steps are rehearsed in one, and then each takes one.
    learnt = made.distil(chosen, budget_s=150, has_classes=False, clock=ticking(1.0))
    assert learnt.facts["ended"] == "budget"
    assert learnt.facts["planned"] > learnt.facts["steps"] > 0
    assert learnt.facts["seconds"] < 152


def test_without_time_for_the_fewest_steps_nothing_is_kept(net: Model, tmp_path: Path) -> None:
    made, chosen = structures(net, learnt_in=tmp_path / "learnt")
    assert not made.distil(chosen, budget_s=1e-3, has_classes=False).is_better
    assert made.learnt(chosen) is None
    with pytest.raises(CandidateFailed, match="not in the study's folder"):
        made.variant(chosen, distilled=True)


def test_what_cannot_be_trained_is_named(tmp_path: Path) -> None:
    model = example(
        """<ir_version: 8, opset_import: ["": 13]> net (float[1, 6] x) => (float[1, 3] y)
        <float[6, 24] w1, float[24, 8] w2> {
            a = MatMul(x, w1) r = Relu(a) b = MatMul(r, w2)
            k = Constant <value_ints = [3]> () y, i = TopK(b, k)
        }""",
        tmp_path,
    )
    made, chosen = structures(model)
    learnt = made.distil(chosen, budget_s=5, has_classes=False)
    assert not learnt.is_better
    assert learnt.facts == {"refused": "operator TopK cannot be trained"}


def test_a_candidate_is_built_on_its_distilled_weights(net: Model, tmp_path: Path) -> None:
    made, chosen = structures(net, learnt_in=tmp_path / "learnt")
    space = search_space(net, lossy=True, cores=1, structure=True)
    refitted = space.candidate(chosen)
    distilled = space.candidate({**chosen, RECOVERY: DISTILLED})
    assert distilled.is_distilled
    builder = Builder(net, space, None, tmp_path / "built", MAX_OPSET, MAX_IR, structures=made)
    with pytest.raises(CandidateFailed, match="distilled weights"):
        builder.build(distilled)
    made.distil(chosen, budget_s=20, has_classes=False)
    built = builder.build(distilled)
    assert built.sha256 != builder.build(refitted).sha256
    assert error(built.path.read_bytes(), net) < error(builder.build(refitted).path.read_bytes(), net)
    elsewhere, _ = structures(net, learnt_in=tmp_path / "learnt")
    another = Builder(net, space, None, tmp_path / "another", MAX_OPSET, MAX_IR, structures=elsewhere)
    assert another.build(distilled).sha256 == built.sha256


def test_a_torn_file_is_as_good_as_none(tmp_path: Path) -> None:
    store = LearntStore(tmp_path)
    store.put("a" * 64, Learnt({"file": np.ones((2, 3), np.float32)}, {"steps": 7}))
    found = LearntStore(tmp_path).get("a" * 64)
    assert found is not None
    assert (found.weights["file"].shape, found.facts) == ((2, 3), {"steps": 7})
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:200])
    assert LearntStore(tmp_path).get("a" * 64) is None


@pytest.mark.parametrize(
    ("name", "index"), [("width", 0), ("heads", 0), ("recurrent_width", 0), ("recurrent_width", 1)]
)
def test_gradients_are_those_of_finite_differences(name: str, index: int, tmp_path: Path) -> None:
    model = example(structure.change(name).EXAMPLES[index], tmp_path)
    program = Program(model.ir.graph, model.opset)
    given = next(iter(RandomSamples(model, 1, seed=5).samples()))
    feeds = {n: torch.from_numpy(np.array(a))[None].double() for n, a in given.items()}
    for known in program._constants, program.weights:
        known |= {n: c.double() for n, c in known.items() if c.is_floating_point()}
    weights = program.weights

    def loss(changed: dict[str, torch.Tensor]) -> torch.Tensor:
        found = program.batch(weights | changed, feeds, program.outputs)
        return torch.stack([one.square().sum() for one in found]).sum()

    rng = np.random.default_rng(0)
    for name_of, weight in weights.items():
        trained = weight.clone().requires_grad_()
        loss({name_of: trained}).backward()
        assert trained.grad is not None
        towards = torch.from_numpy(rng.standard_normal(tuple(weight.shape)))
        step = 1e-5
        with torch.no_grad():
            rise = loss({name_of: weight + step * towards}) - loss({name_of: weight - step * towards})
        expected = float(rise) / (2 * step)
        assert float((trained.grad * towards).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-6), name_of


def test_torch_is_not_loaded_before_it_is_needed() -> None:
    script = (
        "import sys, edgeopt.graph.structuring, edgeopt.optimize.distilling; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
