"""The bill of materials of a package: CycloneDX 1.6 with machine-learning models. Pure, no IO.

The model card is added to the library's document: cyclonedx-python-lib does not write that part yet.

Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/ (components, modelCard).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6

from edgeopt import __version__

NAME = "evidence/bom.cdx.json"


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a variant is made of and from.

    Attributes:
        sha256: Of the model's file.
        original_sha256: Of the model that the study began with.
        runtime: Name and version that the variant was measured with; None where not known.
        decisions: What the search decided.
        versions: Of what took part, by name.
    """

    name: str
    device: str
    sha256: str
    original: str
    original_sha256: str | None
    runtime: str
    runtime_version: str | None
    interface: Mapping[str, Sequence[Mapping[str, Any]]]
    accuracy: Mapping[str, Any]
    latency: Mapping[str, Any] | None
    decisions: Mapping[str, Any]


def bom(product: str, counter: int, created: datetime, variants: Sequence[Ingredients]) -> bytes:
    """The document; the same for the same arguments."""
    release = Component(
        type=ComponentType.APPLICATION, name=product, version=str(counter), bom_ref=f"{product}@{counter}"
    )
    tool = Component(
        type=ComponentType.APPLICATION, name="edgeopt", version=__version__, bom_ref="tool:edgeopt"
    )
    document = Bom(
        serial_number=uuid5(NAMESPACE_URL, f"edgeopt:{product}:{counter}:{[v.sha256 for v in variants]}"),
        metadata=BomMetaData(timestamp=created, component=release, tools=ToolRepository(components=[tool])),
    )
    known: dict[str, Component] = {}
    models = []
    for variant in variants:
        model = _model(variant)
        parts = [known.setdefault(part.bom_ref.value or "", part) for part in _parts(variant)]
        document.components.add(model)
        for part in parts:
            document.components.add(part)
        document.register_dependency(model, parts)
        models.append(model)
    document.register_dependency(release, models)
    body = json.loads(JsonV1Dot6(document).output_as_string())
    cards = {_reference(variant): _card(variant) for variant in variants}
    for component in body["components"]:
        if card := cards.get(component["bom-ref"]):
            component["modelCard"] = card
    return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()


def _reference(variant: Ingredients) -> str:
    return f"variant:{variant.name}"


def _model(variant: Ingredients) -> Component:
    decided = json.dumps(dict(variant.decisions), sort_keys=True)
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=variant.name,
        bom_ref=_reference(variant),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=variant.sha256)],
        properties=[
            Property(name="edgeopt:device", value=variant.device),
            Property(name="edgeopt:decisions", value=decided),
        ],
    )


def _parts(variant: Ingredients) -> list[Component]:
    original = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=variant.original,
        bom_ref=f"original:{variant.original_sha256 or variant.original}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=variant.original_sha256)]
        if variant.original_sha256
        else [],
    )
    runtime = Component(
        type=ComponentType.LIBRARY,
        name=variant.runtime,
        version=variant.runtime_version,
        bom_ref=f"runtime:{variant.runtime}@{variant.runtime_version or 'unknown'}",
    )
    return [original, runtime]


def _card(variant: Ingredients) -> dict[str, Any]:
    parameters = {
        side: [
            {"format": f"{one['name']} {one['dtype']}{list(one['shape'])}"} for one in variant.interface[side]
        ]
        for side in ("inputs", "outputs")
    }
    metrics: list[dict[str, Any]] = []
    if variant.accuracy.get("drop") is not None:
        metrics.append(_metric("accuracy drop", variant.accuracy["drop"], None, variant.accuracy["bound"]))
    if variant.latency is not None:
        latency = variant.latency
        name = f"latency in ms on {variant.device}, {latency['provenance']}"
        metrics.append(_metric(name, latency["value"], latency["low"], latency["high"]))
    return {"modelParameters": parameters, "quantitativeAnalysis": {"performanceMetrics": metrics}}


def _metric(name: str, value: float, low: float | None, high: float | None) -> dict[str, Any]:
    ends = {"lowerBound": low, "upperBound": high}
    interval = {end: f"{figure:.6g}" for end, figure in ends.items() if figure is not None}
    return {"type": name, "value": f"{value:.6g}"} | ({"confidenceInterval": interval} if interval else {})
