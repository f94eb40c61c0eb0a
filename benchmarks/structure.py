"""What changes of structure bring on top of rewrites and precision, on the examples.

    python -m benchmarks.structure [--no-latency] [--distil=SECONDS] [--changes=NAME,…] [cnn] [transformer]

First each change by itself, at its mildest and its strongest option wherever it can be made: multiply-adds,
the file's size, the score as cut, after the layers were refitted, and with --distil after it learnt from the
original for at most so many seconds, with what ended that. With --no-latency that is all.

For each example every width is set to the same share (the nearest above that it offers). Shown are
multiply-adds, the file's size, the score on the search part as cut, after the layers were refitted, and with
the precision; and how many times faster it is than the fastest of the plain recipes (usual rewrites, with and
without int8) that keeps its score: median of paired, interleaved runs on this machine with one thread, with a
95 % interval. Last, the fastest that loses at most 1 % on the search part is scored once on the confirm part.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from edgeopt.cli.settings import optimize_options, settings
from edgeopt.core.artifact import Artifact
from edgeopt.core.space import SearchSpace
from edgeopt.graph import calibration, rewriting, structure
from edgeopt.graph.builder import Builder, saturates, wants_unsigned
from edgeopt.graph.flops import node_flops
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.moments import Statistics
from edgeopt.graph.space import search_space
from edgeopt.graph.structuring import Structures
from edgeopt.optimize.inputs import Inputs, open_inputs
from edgeopt.runtimes.onnxruntime import Session

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
WIDTHS = ("width", "ffn_width", "heads", "recurrent_width")
SHARES = (100.0, 87.5, 75.0, 62.5, 50.0)
RECIPES = ("float32", "int8_dynamic", "int8_static_channel")
MAX_DROP = 0.01
ROUNDS, SECONDS = 40, 8.0
ONE_THREAD = {"threads": 1}


@dataclass
class Subject:
    """An example, and what builds its candidates."""

    inputs: Inputs
    space: SearchSpace
    structures: Structures
    builder: Builder

    @classmethod
    def of(cls, name: str, folder: Path) -> Subject:
        os.chdir(EXAMPLES / name)
        inputs = open_inputs(optimize_options(settings({}), fresh=False, command=""))
        model, part = inputs.model, inputs.calibration
        space = search_space(model, lossy=True, cores=1, structure=True)
        statistics = Statistics(model, part, folder=folder)
        assert inputs.parts is not None
        structures = Structures(
            model, space.regions, part, statistics, folder, unlabelled=inputs.fed(inputs.parts.search)
        )
        machine, flags = os.uname().machine, Path("/proc/cpuinfo").read_text().split()
        builder = Builder(
            model, space, calibration.collect(model, part, folder=folder), folder, 21, 10,
            unsigned=wants_unsigned(machine), seven_bits=saturates(machine, flags),
            statistics=statistics, structures=structures,
        )  # fmt: skip
        return cls(inputs, space, structures, builder)

    def decisions(self, share: float) -> dict[str, str]:
        """Every width at the smallest option that is at least `share` %; blocks and ranks stay."""
        chosen = {}
        for point in self.space.points:
            if point.family != "structure" or point.name not in WIDTHS:
                continue
            fitting = [o for o in point.options if float(o.removesuffix("%")) >= share]
            chosen[point.site] = min(fitting, key=lambda option: float(option.removesuffix("%")))
        return {site: option for site, option in chosen.items() if option != "100%"}

    def build(self, share: float, scheme: str) -> Artifact:
        chosen = self.decisions(share)
        for point in self.space.points:
            if point.family == "precision" and scheme in point.options:
                chosen[point.site] = scheme
            elif point.family == "rewrite" and rewriting.is_usual(str(point.name)):
                chosen[point.site] = "on"
        return self.builder.build(self.space.candidate(chosen))

    def score(self, model: Path | bytes, part: str = "search") -> float:
        assert self.inputs.gate is not None
        run = self.inputs.batch.run(Session(model, ONE_THREAD).run)
        return self.inputs.gate.score(run, part, full=True).score


def ratios(slow: Path, fast: Sequence[Path], inputs: Inputs) -> list[tuple[float, float, float]]:
    """How many times faster than `slow` each is: median and 95 % interval of paired turns."""
    sessions = [Session(path, ONE_THREAD) for path in (slow, *fast)]
    turns: list[list[float]] = []
    end = time.monotonic() + SECONDS * len(sessions)
    while len(turns) < ROUNDS or (time.monotonic() < end and len(turns) < 2000):
        turn = []
        for session in sessions:
            session.run(inputs.feeds)  # its caches are cold: the others ran in between
            start = time.perf_counter()
            for _ in range(3):
                session.run(inputs.feeds)
            turn.append(time.perf_counter() - start)
        turns.append(turn)
    logs = np.log(np.array(turns))
    paired = logs[:, :1] - logs[:, 1:]
    rng = np.random.default_rng(0)
    drawn = [np.median(paired[rng.integers(0, len(paired), len(paired))], axis=0) for _ in range(400)]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return [tuple(row) for row in np.exp(np.stack([np.median(paired, axis=0), low, high], axis=1))]


def macs(model: Model) -> float:
    return sum(node_flops(node) or 0 for node in model.ir.graph) / 2


def distilled(subject: Subject, decisions: dict[str, str], seconds: float | None) -> str:
    """Further cells of a row."""
    if seconds is None:
        return ""
    learnt = subject.structures.distil(decisions, budget_s=seconds, has_classes=True)
    if not learnt.is_better:
        return f" – | {learnt.facts.get('refused', 'no better')} | {learnt.facts.get('steps', 0)} |"
    score = subject.score(to_bytes(subject.structures.variant(decisions, distilled=True).model.ir))
    losses = f"{learnt.facts['loss_before']:.3g} → {learnt.facts['loss_after']:.3g}"
    return f" {score:.4f} | {losses} | {learnt.facts['steps']}, {learnt.facts['ended']} |"


def show_changes(name: str, subject: Subject, seconds: float | None, only: Sequence[str]) -> None:
    """Each change alone: its first and its last option at all its sites."""
    whole = subject.structures.variant({}).model
    print(f"\n## {name}: each change alone; score {subject.score(subject.inputs.model.path):.4f}, ", end="")
    print(f"{macs(whole) / 1e6:.2f} M multiply-adds, {len(to_bytes(whole.ir)) / 1e3:.0f} kB\n")
    told = "" if seconds is None else " distilled | held-out loss | steps |"
    print(f"| change | options | sites | M multiply-adds | file, kB | as cut | refitted |{told}")
    print("|---|---|---|---|---|---|---|" + "---|" * told.count("|"))
    for change in [name for name in structure.names() if not only or name in only]:
        points = [p for p in subject.space.points if p.family == "structure" and p.name == change]
        chosen = [{p.site: p.options[place] for p in points} for place in (1, -1)]
        for decisions in chosen[: 1 if chosen[0] == chosen[-1] else 2] if points else ():
            variants = [
                subject.structures.variant(decisions, refitted=refitted) for refitted in (False, True)
            ]
            contents = [to_bytes(variant.model.ir) for variant in variants]
            scored = " | ".join(f"{subject.score(content):.4f}" for content in contents)
            print(
                f"| `{change}` | {', '.join(sorted(set(decisions.values())))} | {len(points)} | "
                f"{macs(variants[1].model) / 1e6:.2f} | {len(contents[1]) / 1e3:.0f} | {scored} |"
                f"{distilled(subject, decisions, seconds)}",
                flush=True,
            )


def show(subject: Subject, name: str) -> None:
    original = subject.score(subject.inputs.model.path)
    allowed = original * (1 - MAX_DROP)
    recipes = {scheme: subject.build(100.0, scheme) for scheme in RECIPES}
    fitting = [s for s, built in recipes.items() if subject.score(built.path) >= allowed]
    plain = ratios(recipes["float32"].path, [recipes[s].path for s in fitting], subject.inputs)
    best = max(zip(fitting, plain, strict=True), key=lambda one: one[1][0])[0]
    sites = len(subject.decisions(min(SHARES)))
    print(f"\n## {name}: score {original:.4f}; fastest plain recipe: usual rewrites, {best}; {sites} sites\n")
    print("| share | M multiply-adds | file, kB | as cut | refitted | in its precision | times faster |")
    print("|---|---|---|---|---|---|---|")
    built = {share: subject.build(share, best) for share in SHARES}
    speed = dict(
        zip(SHARES, ratios(recipes[best].path, [b.path for b in built.values()], subject.inputs), strict=True)
    )
    scores = {}
    for share in SHARES:
        variants = [subject.structures.variant(subject.decisions(share), refitted=r) for r in (False, True)]
        cut, refitted = (subject.score(to_bytes(variant.model.ir)) for variant in variants)
        scores[share] = subject.score(built[share].path)
        middle, low, high = speed[share]
        print(
            f"| {share:g} % | {macs(variants[1].model) / 1e6:.2f} | {built[share].size_bytes / 1e3:.0f} | "
            f"{cut:.4f} | {refitted:.4f} | {scores[share]:.4f} | {middle:.2f} ({low:.2f}–{high:.2f}) |",
            flush=True,
        )
    good = [share for share in SHARES if scores[share] >= allowed]
    chosen = max(good, key=lambda share: speed[share][0])
    confirmed = [subject.score(path, "confirm") for path in (subject.inputs.model.path, built[chosen].path)]
    print(
        f"\nat {chosen:g} %: {speed[chosen][0]:.2f} times faster; on the confirm part {confirmed[1]:.4f}, "
        f"the original {confirmed[0]:.4f}"
    )


def main() -> None:
    names = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    said = dict(argument[2:].partition("=")[::2] for argument in sys.argv[1:] if argument.startswith("--"))
    seconds = float(said["distil"]) if "distil" in said else None
    only = said.get("changes", "").split(",") if said.get("changes") else ()
    for name in names or ("cnn", "transformer"):
        with tempfile.TemporaryDirectory() as folder:
            subject = Subject.of(name, Path(folder))
            show_changes(name, subject, seconds, only)
            if "no-latency" not in said:
                show(subject, name)


if __name__ == "__main__":
    main()
