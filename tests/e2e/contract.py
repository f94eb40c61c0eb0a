"""The JSON answers of the command line, as their contract says: each key, its type, null where unknown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NoReturn

Check = Any
"""A type, a set of allowed values, a tuple of alternatives, a one-element list, or a dict of keys."""

PATH = "absolute path"
SHA256 = "sha256"

LATENCY = {
    "p50": (float, None), "p90": (float, None), "p95": (float, None), "p99": (float, None),
    "ci95": ("pair", None), "n": int,
}  # fmt: skip
TRIAL = {
    "name": str, "trial": int, "kind": {"baseline", "reference", "candidate"},
    "state": {"COMPLETE", "INFEASIBLE", "FAILED"}, "stage": ({"screen", "rank", "final"}, None),
    "reason": (str, None), "runtime": ({"onnxruntime", "litert"}, None), "session_options": (dict, None),
    "artifact": (PATH, None), "sha256": (SHA256, None), "size_bytes": (int, None), "latency_ms": LATENCY,
    "cold_start_ms": (float, None), "peak_rss_bytes": (int, None), "model_rss_bytes": (int, None),
    "power_w": (float, None), "energy_mj": (float, None),
    "energy_source": ({"meter", "pmic", "rapl", "model"}, None), "cpu_utilization": (float, None),
    "roofline_fraction": (float, None), "accuracy": (float, None), "drop": (float, None),
    "provenance": ({"measured", "emulated", "predicted"}, None),
    "conditions": ({"bench", "sustained", "app"}, None), "decisions": dict,
}  # fmt: skip
ACCURACY = {
    "status": {"established", "not established", "unverified"}, "basis": {"labels", "agreement", "none"},
    "verified_on": ({"board", "host"}, None), "n": int, "drop": (float, None), "bound": (float, None),
}  # fmt: skip
RESULT = {
    "model": PATH, "device": str, "board": str, "provenance": {"measured", "emulated", "predicted"},
    "baseline": TRIAL, "references": [TRIAL], "best": TRIAL, "pareto": [TRIAL],
    "verdict": {"improved", "reference", "original"}, "trials": int, "measured": int, "failed": int,
    "device_seconds": float, "wall_seconds": float, "artifact": PATH, "accuracy": ACCURACY,
}  # fmt: skip
ERROR = {"error": {"kind": str, "message": str, "hint": (str, None)}}


def check_error(document: Any) -> None:
    """The answer of a command that failed."""
    _check(document, ERROR, "document")


def check_result(document: Any) -> None:
    """The answer of `optimize`, finished or as far as it got."""
    _check(document, RESULT, "document")
    assert document["baseline"]["kind"] == "baseline"
    assert document["baseline"]["trial"] == 0
    assert {t["kind"] for t in document["references"]} <= {"reference"}
    assert document["measured"] + document["failed"] <= document["trials"]
    assert len(document["references"]) < document["trials"]
    shown = [document["baseline"], document["best"], *document["references"], *document["pareto"]]
    for trial in shown:
        _check_trial(trial, document["provenance"])
    assert Path(document["artifact"]).is_file()


def _check_trial(trial: dict[str, Any], provenance: str) -> None:
    assert trial["state"] == "COMPLETE" or trial["reason"], f"{trial['name']}: no reason"
    latency = trial["latency_ms"]
    if latency["p50"] is None:
        assert trial["provenance"] is None
        assert latency["n"] == 0
        return
    assert trial["provenance"] == provenance
    low, high = latency["ci95"]
    assert low <= latency["p50"] <= high
    known = [latency[key] for key in ("p50", "p90", "p95", "p99") if latency[key] is not None]
    assert known == sorted(known)
    assert Path(trial["artifact"]).is_file()


def _check(value: Any, wanted: Check, where: str) -> None:
    if isinstance(wanted, tuple):
        if value is None and None in wanted:
            return
        _check(value, wanted[0], where)
    elif isinstance(wanted, dict):
        if not isinstance(value, dict) or (missing := wanted.keys() - value.keys()):
            _refuse(where, value, f"keys {sorted(missing) if isinstance(value, dict) else sorted(wanted)}")
        for key, check in wanted.items():
            _check(value[key], check, f"{where}.{key}")
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            _refuse(where, value, "a list")
        for index, one in enumerate(value):
            _check(one, wanted[0], f"{where}[{index}]")
    elif isinstance(wanted, set):
        if value not in wanted:
            _refuse(where, value, f"one of {sorted(wanted)}")
    elif wanted == "pair":
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
            _refuse(where, value, "two numbers")
    elif wanted == PATH:
        if not isinstance(value, str) or not Path(value).is_absolute():
            _refuse(where, value, PATH)
    elif wanted == SHA256:
        if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
            _refuse(where, value, SHA256)
    elif wanted is float:
        if not _is_number(value):
            _refuse(where, value, "a number")
    elif not isinstance(value, wanted) or (isinstance(value, bool) and wanted is int):
        _refuse(where, value, wanted.__name__)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(where: str, value: Any, wanted: str) -> NoReturn:
    raise AssertionError(f"{where}: {value!r} is not {wanted}")
