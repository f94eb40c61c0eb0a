"""The figures as a markdown table, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rivals.compare import LOADED, OURS, SMALLEST, UNTOUCHED

EQUAL = 1.03
"""Latencies closer than this are equal."""
MAX_DROP = 0.01
"""Of the original's score: who loses more is no rival."""
FASTER = 1.5
FRAGILE = ("magika", "silero_vad", "basic_pitch", "g2p_en", "captcha_whisperer", "transformer")
"""Models that other tools break: each must end smaller, not slower and within 1 %."""

Row = Mapping[str, Any]


def valid(variants: Mapping[str, Row]) -> dict[str, Row]:
    """The variants that ran and keep 99 % of the original's score."""
    allowed = MAX_DROP * abs(variants[LOADED]["score"])
    return {
        name: row
        for name, row in variants.items()
        if row.get("p50_ms") is not None and row["drop"] <= allowed + 1e-9
    }


def ratio(model: Row, a: str, b: str) -> tuple[float, list[float] | None]:
    """Latency of `a` over that of `b`, from turns that they took together, with its 95 % interval."""
    if a == b:
        return 1.0, None
    for row in model["comparisons"]:
        if (row["a"], row["b"]) == (a, b):
            return row["ratio_p50"], row["ci95"]
        if (row["a"], row["b"]) == (b, a):
            low_high = row["ci95"]
            return 1 / row["ratio_p50"], [1 / low_high[1], 1 / low_high[0]] if low_high else None
    raise KeyError(f"{model['subject']}: {a} and {b} were not measured together")


def judged(model: Row) -> dict[str, Any]:
    """How edgeopt's variant stands: `{"best", "behind", "speedup", "why"}`.

    `best` is the fastest valid rival, `behind` edgeopt's latency over its (below 1: edgeopt is faster),
    `speedup` that over the original as everybody loads it; `why` is what the figures themselves say.
    """
    variants = model["variants"]
    ours = variants.get(OURS, {})
    if ours.get("failure") or not ours:
        return {"best": None, "behind": None, "speedup": None, "why": ours.get("failure", "not run")}
    able = valid(variants)
    rivals = [name for name in able if name not in (OURS, SMALLEST)]
    # The original always is: it was measured, and drops nothing.
    best = min(rivals, key=lambda name: ratio(model, name, LOADED)[0])
    behind, interval = ratio(model, OURS, best)
    speedup = 1 / ratio(model, OURS, LOADED)[0]
    return {"best": best, "behind": behind, "ci95": interval, "speedup": speedup,
            "why": _why(model, best, behind, interval)}  # fmt: skip


def _why(model: Row, best: str, behind: float, interval: Sequence[float] | None) -> str:
    variants = model["variants"]
    if OURS not in valid(variants):
        row = variants[OURS]
        return f"drops {row['drop'] / abs(variants[LOADED]['score']):.1%} on this data"
    if behind <= EQUAL:
        return ""
    if interval is None:
        return f"{best} takes 1/{behind:.2f} of its time; the noise is unknown, too few turns"
    if interval[0] <= EQUAL:
        return f"within the noise of {best} ({interval[0]:.2f} to {interval[1]:.2f})"
    return f"{best} takes 1/{behind:.2f} of its time; {_told(model['study'])}"


def _told(study: Row) -> str:
    """What the study itself says of how it ended."""
    said = f"the study of {study['trials']} trials ended with {study['best']!r} ({study['verdict']})"
    refused = [f"{name}: {reason}" for name, reason in study["refused"].items()]
    return f"{said}, and refused {'; '.join(refused)}" if refused else said


def summary(models: Sequence[Row]) -> dict[str, Any]:
    """What issue and reader ask: on how many models edgeopt is best or equal, and how often it is 1.5 times
    as fast as the original; which tool failed where."""
    stands = {model["subject"]: judged(model) for model in models}
    good = [
        name for name, one in stands.items() if one["behind"] and one["behind"] <= EQUAL and not one["why"]
    ]
    failures: dict[str, dict[str, str]] = {}
    for model in models:
        for name, row in model["variants"].items():
            if row.get("failure"):
                failures.setdefault(name, {})[model["subject"]] = row["failure"]
    lossy = {
        name: sorted(
            m["subject"] for m in models
            if m["variants"].get(name, {}).get("p50_ms") is not None and name not in valid(m["variants"])
        )
        for name in {name for model in models for name in model["variants"]}
    }  # fmt: skip
    return {
        "models": len(models),
        "best_or_equal": len(good),
        "faster": sum(
            OURS in valid(model["variants"]) and stands[model["subject"]]["speedup"] >= FASTER
            for model in models
        ),
        "exceptions": {name: one["why"] for name, one in stands.items() if name not in good},
        "fragile": {name: _fragile(m) for m in models if (name := m["subject"]) in FRAGILE},
        "failures": failures,
        "dropped_over_limit": {name: where for name, where in sorted(lossy.items()) if where},
    }


def _fragile(model: Row) -> dict[str, dict[str, bool]]:
    """Of each of edgeopt's variants: is it smaller, not slower beyond the noise, within the drop?"""
    variants = model["variants"]
    kept = {}
    for name in (OURS, SMALLEST):
        if variants.get(name, {}).get("p50_ms") is None:
            continue
        found, interval = ratio(model, name, LOADED)
        kept[name] = {
            "smaller": variants[name]["size_bytes"] < variants[LOADED]["size_bytes"],
            "not slower": found <= 1 or bool(interval and interval[0] <= 1),
            "within 1 %": name in valid(variants),
        }
    return kept


def markdown(document: Mapping[str, Any]) -> str:
    """The tables and the summary."""
    lines = [
        f"{document['machine']}; onnxruntime {document['onnxruntime']}, {document['threads']} thread(s); "
        f'edgeopt with `--budget "{document["budget"]}" --effort {document["effort"]}`; '
        + ", ".join(f"{name} {version}" for name, version in document["rivals"].items()),
        "",
    ]
    for model in document["models"]:
        lines += _of_model(model, document["scored_on"][model["subject"]])
    return "\n".join([*lines, *_summary(document["summary"])]) + "\n"


def _of_model(model: Row, scored_on: str) -> list[str]:
    stands = judged(model)
    score = model["variants"][LOADED]
    lines = [
        f"### {model['subject']}", "",
        f"Score: {scored_on}, n = {score['n']}. Load average while measuring: {model['load']:.1f}.", "",
        "| variant | median ms | of ORT all (95 %) | KB | score | drop | why |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in sorted(
        model["variants"], key=lambda one: (one not in (UNTOUCHED, LOADED), one in (OURS, SMALLEST))
    ):
        row = model["variants"][name]
        lines.append(f"| {name} | {' | '.join(_cells(model, name, row))} |")
    if stands["behind"] is not None:
        lines += [
            "",
            f"edgeopt takes {stands['behind']:.2f} of the time of the fastest other valid variant "
            f"({stands['best']}), and is {stands['speedup']:.2f} times as fast as the original.",
        ]
    return [*lines, ""]


def _cells(model: Row, name: str, row: Row) -> list[str]:
    size = f"{row['size_bytes'] / 1000:.0f}" if row.get("size_bytes") else "–"
    if row.get("p50_ms") is None:
        return ["–", "–", size, "–", "–", str(row.get("failure")).replace("|", "/")]
    found, interval = ratio(model, name, LOADED)
    span = f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else ""
    drop = row["drop"] / abs(model["variants"][LOADED]["score"])
    over = "over the limit" if name not in valid(model["variants"]) else ""
    why = judged(model)["why"] if name == OURS else over
    return [f"{row['p50_ms']:.3f}", f"{found:.2f}{span}", size, f"{row['score']:.4f}", f"{drop:+.2%}", why]


def _summary(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "### In short", "",
        f"- edgeopt is best or within 3 % at a drop of at most 1 % on {found['best_or_equal']} of "
        f"{found['models']} models.",
        f"- At least {FASTER} times as fast as the original (as loaded) on {found['faster']} of "
        f"{found['models']}.",
    ]  # fmt: skip
    lines += [f"- Exception {name}: {why}" for name, why in found["exceptions"].items()]
    for name, variants in found["fragile"].items():
        for variant, kept in variants.items():
            said = ", ".join(f"{what}: {'yes' if is_so else 'no'}" for what, is_so in kept.items())
            lines.append(f"- {name} by {variant}: {said}.")
    lines += [
        f"- {tool} failed on {len(where)}: {', '.join(sorted(where))}."
        for tool, where in found["failures"].items()
    ]
    lines += [
        f"- {tool} lost more than 1 % on {len(where)}: {', '.join(where)}."
        for tool, where in found["dropped_over_limit"].items()
    ]
    return lines
