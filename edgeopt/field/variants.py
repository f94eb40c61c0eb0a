"""From the folder of a finished study to a variant: its files, what it needs, what it promises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeopt.core.digest import file_digest
from edgeopt.core.errors import ModelError, PackageError
from edgeopt.core.quantity import Quantity
from edgeopt.core.tensor import TensorSpec
from edgeopt.field import npz
from edgeopt.field.archive import Content
from edgeopt.field.bom import Ingredients
from edgeopt.field.evidence import DEPLOYMENT, GOLDEN_INPUTS
from edgeopt.field.golden import golden
from edgeopt.field.manifest import Promise, Requirements, Variant
from edgeopt.runtimes import litert, onnxruntime

INPUTS = "golden/inputs.npz"


@dataclass(frozen=True, slots=True)
class Source:
    """A study's folder as its `best.json` describes it.

    Attributes:
        name: Of the variant.
        document: `best.json` without its context.
        created: When the study ended.
        versions: Of what took part, by name.
    """

    name: str
    folder: Path
    document: Mapping[str, Any]
    created: datetime
    versions: Mapping[str, str]

    @property
    def best(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.document["best"]
        return found

    @property
    def deployment(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.document[DEPLOYMENT]
        return found

    def model(self) -> Path:
        """The result's file.

        Raises:
            PackageError: It is gone, or not what the study measured.
        """
        path = self.folder / Path(self.document["artifact"]).name
        if not path.is_file():
            raise PackageError(f"{path} is gone", hint="repeat the edgeopt optimize command: it resumes")
        if file_digest(path) != self.best["sha256"]:
            raise PackageError(
                f"{path} is not the file that the study measured", hint="repeat the edgeopt optimize command"
            )
        return path

    def samples(self) -> dict[str, NDArray[Any]]:
        """The golden inputs; `array[i]` is what one inference is fed.

        Raises:
            PackageError: They are gone, or not what the study wrote.
        """
        path, said = self.folder / GOLDEN_INPUTS, self.deployment["golden"]
        if said["sha256"] is None:
            raise ModelError("its inputs are text, which a package's golden inputs cannot hold")
        if not path.is_file() or file_digest(path) != said["sha256"]:
            raise PackageError(
                f"{path} is not what the study wrote", hint="repeat the edgeopt optimize command: it resumes"
            )
        return npz.read(path)


@dataclass(frozen=True, slots=True)
class Built:
    """A variant with its files by their paths in the package."""

    variant: Variant
    files: Mapping[str, Content]
    interface: Mapping[str, Any]
    evidence: tuple[str, ...]
    ingredients: Ingredients


def build(source: Source, samples: Mapping[str, NDArray[Any]]) -> Built:
    """Run the golden inputs through a result, and describe it.

    Args:
        samples: Golden inputs, which all variants of a package share.

    Raises:
        ModelError: The runtime refuses the result, or it takes other inputs.
        PackageError: A file is not what the study says.
    """
    model, best, name = source.model(), source.best, source.name
    runtime, options = best["runtime"], best["session_options"]
    found = golden(model, runtime, options, samples)
    _check_shapes(model, found.inputs, samples)
    interface = {"inputs": _specs(found.inputs), "outputs": _specs(found.outputs)}
    at = f"variants/{name}"
    paths = {"model": f"{at}/model{model.suffix}", "session": f"{at}/session.json"}
    outputs = f"golden/{name}/outputs.npz"
    evidence: dict[str, Content] = {f"evidence/{name}/best.json": source.folder / "best.json"}
    if (page := source.folder / "report.html").is_file():
        evidence[f"evidence/{name}/report.html"] = page
    promise = _promise(best)
    variant = Variant(
        name, source.document["device"], paths["model"], paths["session"], outputs, found.tolerance,
        _requirements(source, runtime), promise, source.document["accuracy"],
    )  # fmt: skip
    files: dict[str, Content] = {
        paths["model"]: model,
        paths["session"]: _session(runtime, model.suffix, options, interface),
        outputs: npz.to_bytes(found.results),
        **evidence,
    }
    ingredients = Ingredients(
        name, variant.device, best["sha256"], Path(source.document["model"]).name,
        source.deployment["original_sha256"], runtime, source.versions.get(runtime), interface,
        variant.accuracy, asdict(promise.latency_ms) if promise.latency_ms else None, best["decisions"],
    )  # fmt: skip
    return Built(variant, files, interface, tuple(evidence), ingredients)


def _requirements(source: Source, runtime: str) -> Requirements:
    said = source.deployment
    opset, ir_version, peak = said["opset"], said["ir_version"], source.best["peak_rss_bytes"]
    return Requirements(
        runtime=runtime,
        runtime_range=_range(runtime, opset, ir_version),
        machine=tuple(said["machine"]),
        isa=tuple(said["isa"]),
        ram_bytes=None if peak is None else int(peak),
        opset=opset,
    )


def _range(runtime: str, opset: int | None, ir_version: int | None) -> str:
    """From the oldest release that loads the file to the next that may load nothing of today."""
    if runtime == litert.NAME:
        return f">={litert.OLDEST[0]}.{litert.OLDEST[1]},<3"
    for (major, minor), (newest, newest_ir) in sorted(onnxruntime.SUPPORTED.items()):
        if (opset or 0) <= newest and (ir_version or 0) <= newest_ir:
            return f">={major}.{minor},<{major + 1}"
    raise ModelError(f"no known onnxruntime loads opset {opset} with IR version {ir_version}")


def _promise(best: Mapping[str, Any]) -> Promise:
    provenance, latency, peak = best["provenance"], best["latency_ms"], best["peak_rss_bytes"]
    low, high = latency["ci95"] or (latency["p50"], latency["p50"])
    source = best["latency_source"] or "unknown"
    return Promise(
        None
        if latency["p50"] is None
        else Quantity(
            latency["p50"], "ms", _or(low, latency["p50"]), _or(high, latency["p50"]), provenance, source
        ),
        None
        if peak is None
        else Quantity(peak, "B", peak, peak, provenance, "peak resident size of the process"),
        best["conditions"],
        provenance,
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _session(runtime: str, suffix: str, options: Mapping[str, object], interface: Mapping[str, Any]) -> bytes:
    """`session.json`: what an application in any language needs to run the model as it was measured."""
    adapters = {onnxruntime.NAME: onnxruntime.runner_options, litert.NAME: litert.runner_options}
    body = {
        "format": 1,
        "runtime": runtime,
        "model": f"model{suffix}",
        "options": adapters[runtime](options),
        "session_options": dict(options),
        **interface,
    }
    return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()


def _specs(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)} for spec in specs]


def _check_shapes(model: Path, inputs: tuple[TensorSpec, ...], samples: Mapping[str, NDArray[Any]]) -> None:
    for spec in inputs:
        array = samples[spec.name]
        fits = array.dtype.name == spec.dtype and len(array.shape) == len(spec.shape) + 1
        if not fits:
            raise ModelError(
                f"{model} takes {spec}, the golden inputs are {array.dtype}{list(array.shape[1:])}",
                hint="variants of one package take the same inputs: package it by itself",
            )
