"""`manifest.json`: what a package holds for which device, what that needs and promises. Pure, no IO."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from edgeopt.core.errors import ConfigError, PackageError
from edgeopt.core.quantity import Quantity

FORMAT = 1
NAME = "manifest.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a device must have to take a variant; what is empty or None is not asked for.

    Attributes:
        runtime: `onnxruntime` or `litert`.
        runtime_range: Versions of it, as PEP 440 says.
        python: Versions of Python, as PEP 440 says.
        machine: What `uname -m` may answer.
        isa: Flags of the CPU that must all be there (`asimddp`, ...).
        ram_bytes: What the process took at most when it was measured.
        os: Globs, of which one must match the system's name.
        opset: Of the default ONNX domain.
    """

    runtime: str
    runtime_range: str
    python: str = ">=3.9"
    machine: tuple[str, ...] = ()
    isa: tuple[str, ...] = ()
    ram_bytes: int | None = None
    os: tuple[str, ...] = ()
    opset: int | None = None


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far outputs on a device may be from the golden ones: |a - b| <= atol + rtol * |b|.

    Attributes:
        atol: By output; None where only shape and type are compared.
        argmax_agreement: Least share of samples whose arg-max of output 0 agrees; None without classes.
    """

    rtol: float
    atol: Mapping[str, float | None]
    argmax_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """What was found of a variant; None where it is not known.

    Attributes:
        conditions: `bench`, `sustained` or `app`, as in the study.
        provenance: `measured`, `emulated` or `predicted`.
    """

    latency_ms: Quantity | None
    peak_rss_bytes: Quantity | None
    conditions: str
    provenance: str


@dataclass(frozen=True, slots=True)
class Variant:
    """A model for one kind of device. Paths are of the package.

    Attributes:
        device: Name of the profile that it was made for.
        session: How the runtime is set, and the names, types and shapes of inputs and outputs.
        golden: Outputs for the package's golden inputs.
    """

    name: str
    device: str
    model: str
    session: str
    golden: str
    tolerance: Tolerance
    requires: Requirements
    promise: Promise
    accuracy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a package says of itself.

    Attributes:
        counter: Grows with every release of the product; also the version of `targets.json`.
        created: When the studies ended, or $SOURCE_DATE_EPOCH; ISO 8601 in UTC.
        inputs: Path of the golden inputs.
        inputs_from: Where they are from: `data` or `random`.
        interface: `inputs` and `outputs`: name, dtype and shape of each.
        evidence: Paths of what supports the promises.
    """

    product: str
    counter: int
    created: str
    variants: tuple[Variant, ...]
    inputs: str
    inputs_from: str
    interface: Mapping[str, Any]
    accuracy: Mapping[str, Any]
    evidence: tuple[str, ...]
    wheels: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The file: sorted and indented, so that people can read it."""
        body = {"format": FORMAT} | asdict(self)
        return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """The inverse of `to_bytes`.

        Raises:
            PackageError: It is something else, or of a later format.
        """
        try:
            body = json.loads(content)
            if not isinstance(body, dict):
                raise TypeError("not an object")
            version = body.pop("format", None)
            if version != FORMAT:
                raise PackageError(
                    f"{NAME} has format {version!r}, this edgeopt reads {FORMAT}",
                    hint="a newer edgeopt made it",
                )
            body["variants"] = tuple(_variant(said) for said in body["variants"])
            return _filled(cls, body)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PackageError(f"{NAME} is damaged: {type(error).__name__} {str(error)[:80]}") from error

    def paths(self) -> list[str]:
        """Every file that it names."""
        each = [path for v in self.variants for path in (v.model, v.session, v.golden)]
        return [self.inputs, *each, *self.evidence, *self.wheels]


def check_product(name: str) -> str:
    """A name that can be part of a path, as products and variants have.

    Raises:
        ConfigError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a product or a variant",
            hint="up to 40 of A-Z a-z 0-9 . _ - , the first a letter or a digit; --product NAME, DIR=NAME",
        )
    return name


def _variant(said: dict[str, Any]) -> Variant:
    promise = said["promise"]
    for figure in ("latency_ms", "peak_rss_bytes"):
        if promise[figure] is not None:
            promise[figure] = Quantity(**promise[figure])
    said["promise"] = Promise(**promise)
    said["requires"] = _filled(Requirements, said["requires"])
    said["tolerance"] = Tolerance(**said["tolerance"])
    return Variant(**said)


def _filled(kind: type[T], said: dict[str, Any]) -> T:
    """A dataclass from JSON, whose lists become tuples."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(said.keys() - known):
        raise ValueError(f"unknown field {unknown[0]}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in said.items()})
