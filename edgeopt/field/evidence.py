"""What a study must have shown before its result may be packaged. Pure, no IO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeopt.core.errors import EvidenceError, StudyError

DEPLOYMENT = "deployment"
"""Entry of `best.json`: what only the study knew of its result and its board."""
GOLDEN_INPUTS = "golden.npz"
"""File of the study's folder: real inputs, as the result takes them."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the user accepts in spite of everything."""

    emulated: bool = False
    unestablished: bool = False


def check(document: Mapping[str, Any], allowed: Allowed) -> None:
    """Refuse a result that was not measured, or of whose accuracy the data say too little.

    Args:
        document: Of `best.json`.

    Raises:
        StudyError: The study has not ended, or an older edgeopt made it.
        EvidenceError: Says what is missing, and which flag accepts it.
    """
    if not isinstance(document.get(DEPLOYMENT), dict):
        raise StudyError(
            "the study does not say what its result needs: an older edgeopt made it",
            hint="repeat its edgeopt optimize command: it resumes",
        )
    if not document.get("final"):
        raise StudyError(
            "the study was broken off before its final stage: nothing is confirmed yet",
            hint="repeat its edgeopt optimize command: it resumes",
        )
    best = document["best"]
    if rejected := _rejected(document):
        raise EvidenceError(f"no variant keeps the study's limits: {rejected}", "search with other limits")
    provenance = best["provenance"]
    if provenance != "measured" and not allowed.emulated:
        raise EvidenceError(
            f"its figures are {provenance}, not measured",
            hint="edgeopt confirm DIR --board NAME measures it; --allow-emulated packages it as it is",
        )
    if (why := _unestablished(document)) and not allowed.unestablished:
        raise EvidenceError(why, hint="more labelled samples; --allow-unestablished packages it as it is")


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What was accepted, or is weaker than a reader might think; a sentence each."""
    best, found = document["best"], []
    if best["provenance"] != "measured":
        found.append(f"the promised figures are {best['provenance']}, not measured")
    if why := _unestablished(document):
        found.append(why)
    if best["conditions"] == "bench":
        found.append("the promise holds on a cool, quiet board: --conditions sustained measures what lasts")
    return found


def _rejected(document: Mapping[str, Any]) -> str | None:
    winner = document["best"]["trial"]
    said = next((row["rejected"] for row in document["final"] if row["trial"] == winner), None)
    return str(said) if said else None


def _unestablished(document: Mapping[str, Any]) -> str | None:
    accuracy = document["accuracy"]
    if accuracy["status"] == "unverified":
        return "its accuracy is unverified: the study had no data"
    if accuracy["status"] != "established":
        bound = accuracy["bound"]
        reach = "is not known" if bound is None else f"may be as large as {bound:.4f}"
        return f"its accuracy is {accuracy['status']}: from {accuracy['n']} samples the drop {reach}"
    # The original is the user's own file, byte for byte; on a local board host and board are one.
    is_same = document["verdict"] == "original" or document["board"] == "local"
    if accuracy["verified_on"] != "board" and not is_same:
        return "its accuracy was established on the host only, and int8 kernels of the board are its own"
    return None
