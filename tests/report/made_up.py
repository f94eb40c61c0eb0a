"""A study that never was, but could have been."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Provenance, Quantity
from edgeopt.core.trial import Accuracy, Kind, State, Trial
from edgeopt.report.context import ReportContext, thin
from edgeopt.report.document import trial_document

REGIONS = (
    *tuple((f"/features/{i}/conv", "Conv, Clip" if i % 3 else "Conv, Add") for i in range(22)),
    ("/classifier", "GlobalAveragePool, Gemm"),
)
RECIPES = (
    "int8 static per-channel",
    "int8 static per-tensor",
    "int8 dynamic",
    "float16 storage",
    "2 threads",
)
SCHEMES = ("int8_static_channel", "int8_static_tensor", "int8_dynamic", "float16_weights", "float32")


def measurement(
    p50_ms: float, seed: int, *, stage: str = "screen", runs: int = 400, provenance: Provenance = "measured"
) -> Measurement:
    """Latencies with a right tail around a median."""
    rng = random.Random(seed)
    latencies = tuple(
        p50_ms * (1 + abs(rng.gauss(0, 0.02)) + (rng.random() < 0.04) * rng.random() * 0.4)
        for _ in range(runs)
    )
    if provenance != "measured":
        wide = Quantity(p50_ms, "ms", p50_ms * 0.8, p50_ms * 1.25, provenance, "roofline")
        return Measurement(latency=wide, protocol=stage)
    middle = sorted(latencies)[runs // 2]
    return Measurement(
        latency=Quantity(middle, "ms", middle * 0.99, middle * 1.012, "measured", "clock"),
        latencies_ms=latencies,
        process_p50_ms=tuple(middle * rng.uniform(0.99, 1.01) for _ in range(5)),
        cold_start_ms=140.0 + 10 * p50_ms,
        peak_rss_bytes=int(58e6 + 2.5e6 * p50_ms),
        model_rss_bytes=int(12e6 + 2.5e6 * p50_ms),
        cpu_utilization=0.93,
        protocol=stage,
    )


def trial(
    number: int, decisions: dict[str, str], p50_ms: float, drop: float, size_bytes: int, **more: Any
) -> Trial:
    """One complete trial, unless `more` says otherwise."""
    state: State = more.pop("state", "COMPLETE")
    kind: Kind = more.pop("kind", "candidate")
    provenance: Provenance = more.pop("provenance", "measured")
    candidate = Candidate.of("m" * 64, decisions)
    artifact = Artifact(
        candidate.key,
        Path(f"/study/cache/{number}.onnx"),
        "a" * 64,
        size_bytes,
        "onnxruntime",
        {"threads": 4},
    )
    said = None if state == "FAILED" else measurement(p50_ms, number, provenance=provenance)
    accuracy = Accuracy(0.9412 - drop, drop, None, 2000, "labels", "search")
    return Trial(
        number, candidate, state, kind, artifact=artifact, measurement=said, accuracy=accuracy, **more
    )


def study(provenance: Provenance = "measured") -> list[Trial]:
    """A baseline, five references and forty candidates."""
    rng = random.Random(7)
    names = [name for name, _ in REGIONS]
    default = {f"precision@{name}": "float32" for name in names} | {"runtime:threads": "4"}
    default |= {f"rewrite:fold_batchnorm@{name}": "off" for name in names[::4]}
    trials = [
        trial(0, default, 8.1, 0.0, 14_000_000, kind="baseline", name="original", provenance=provenance)
    ]
    figures = (
        (4.3, 0.006, 3.7e6),
        (4.5, 0.021, 3.6e6),
        (6.2, 0.004, 3.8e6),
        (8.0, 0.0001, 7.1e6),
        (9.9, 0.0, 14e6),
    )
    for number, (name, (p50_ms, drop, size_bytes)) in enumerate(zip(RECIPES, figures, strict=True), 1):
        over = drop > 0.0094
        trials.append(
            trial(
                number,
                default
                | {"runtime:threads": "2" if number == 5 else "4"}
                | {f"precision@{n}": SCHEMES[number - 1] for n in names},
                p50_ms,
                drop,
                int(size_bytes),
                kind="reference",
                name=name,
                provenance=provenance,
                state="INFEASIBLE" if over else "COMPLETE",
                reason=f"accuracy drops by {drop:.4f}, 0.0094 is allowed (n = 2000)" if over else None,
            )
        )
    for number in range(6, 46):
        share = rng.random()
        decisions = dict(default)
        for name in names:
            if rng.random() < share:
                decisions[f"precision@{name}"] = rng.choice(["int8_static_channel", "float16_weights"])
        decisions |= {f"rewrite:fold_batchnorm@{n}": rng.choice(["on", "off"]) for n in names[::4]}
        learned = (number - 6) / 40
        p50_ms = 3.0 + (1 - learned) * 6 * rng.random() + 0.9 * rng.random()
        drop = max(0.0, 0.012 * share + rng.gauss(0, 0.003))
        p50_ms += 1.2 * (1 - share)
        state: State = "FAILED" if number == 20 else "INFEASIBLE" if drop > 0.0094 else "COMPLETE"
        reason = {
            "FAILED": "out of memory on the board",
            "INFEASIBLE": f"accuracy drops by {drop:.4f}, 0.0094 is allowed",
        }
        trials.append(
            trial(
                number,
                decisions,
                p50_ms,
                drop,
                int(14e6 - 10e6 * share),
                state=state,
                provenance=provenance,
                reason=reason.get(state),
            )
        )
    return trials


def result(trials: list[Trial], provenance: Provenance = "measured") -> dict[str, Any]:
    """The document of `edgeopt optimize` for a study."""
    default = trials[0].candidate
    complete = [t for t in trials if t.state == "COMPLETE" and t.kind == "candidate" and t.measurement]
    best = min(complete, key=lambda t: t.measurement.p50_ms if t.measurement else 0.0)

    def final(t: Trial) -> dict[str, Any]:
        said = t.measurement
        if said and provenance == "measured" and t.state == "COMPLETE":
            said = measurement(said.p50_ms, 100 + t.number, stage="final", runs=3000)
        return trial_document(t, default, measurement=said)

    baseline, winner = final(trials[0]), final(best)
    references = [final(t) for t in trials if t.kind == "reference"]
    comparisons = []
    for other in (baseline, *references):
        if provenance == "measured" and other["latency_ms"]["p50"]:
            ratio = winner["latency_ms"]["p50"] / other["latency_ms"]["p50"]
            comparisons.append(
                {
                    "a": winner["name"],
                    "b": other["name"],
                    "ratio_p50": ratio,
                    "ci95": [ratio * 0.97, ratio * 1.03],
                    "significant": True,
                }
            )
    return {
        "model": "/home/user/mobilenet_v2.onnx",
        "device": "rpi4",
        "board": "kitchen-pi",
        "provenance": provenance,
        "baseline": baseline,
        "references": references,
        "best": winner,
        "pareto": [baseline, winner],
        "verdict": "improved",
        "trials": len(trials),
        "measured": 39,
        "failed": 1,
        "device_seconds": 812.0,
        "wall_seconds": 1003.0,
        "artifact": "/home/user/edgeopt-out/mobilenet_v2-rpi4/best.onnx",
        "accuracy": {
            "status": "established",
            "basis": "labels",
            "verified_on": "host",
            "n": 3000,
            "drop": 0.0031,
            "bound": 0.0077,
        },
        "comparisons": comparisons,
    }


def context(document: dict[str, Any], **more: Any) -> ReportContext:
    """What goes with `result`."""
    rows = [document["baseline"], *document["references"][:2], document["best"]]
    names = [row["name"] for row in rows if row]
    p50s = (8.1, 4.3, 4.5, 3.8)
    samples = {
        name: thin(measurement(p50_ms, 50 + i, runs=3000).latencies_ms)
        for i, (name, p50_ms) in enumerate(zip(names, p50s, strict=False))
    }
    fields: dict[str, Any] = {
        "command": "edgeopt optimize mobilenet_v2.onnx --device rpi4 --data val.npz --budget '40 trials'",
        "created": "2025-03-04 12:30",
        "metric": "top1",
        "original_score": 0.9412,
        "regions": REGIONS,
        "samples": samples,
        "board_facts": {
            "model": "Raspberry Pi 4 Model B Rev 1.4",
            "cores": "4 × Cortex-A72",
            "RAM": "4 GB",
            "kernel": "6.6.51",
            "governor": "performance",
            "onnxruntime": "1.22.0",
        },
        "protocol": (
            "final: 5 fresh processes × 10 s each, in turns of 0.5 s with the original",
            "search: 64 runs and 2 s per candidate, hopeless ones stopped early",
        ),
        "versions": {"edgeopt": "0.1.0", "onnxruntime (host)": "1.22.0"},
        "notes": ("12:04 drift +1.2 %, corrected",),
    }
    return ReportContext(**(fields | more))
