"""What every precision scheme must keep, checked on its examples: a new file is tested without a new test.

from edgeopt.testing import precision

@pytest.mark.parametrize(("scheme", "index"), precision.cases())
def test_scheme(scheme, index, tmp_path):
    precision.check_example(scheme, index, tmp_path)
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edgeopt.core.candidate import Candidate
from edgeopt.core.space import SearchSpace
from edgeopt.core.tensor import TensorSpec
from edgeopt.graph import precision, rewriting
from edgeopt.graph.builder import Builder
from edgeopt.graph.calibration import collect
from edgeopt.graph.model import Model, freeze, load
from edgeopt.graph.moments import Statistics
from edgeopt.graph.space import search_space
from edgeopt.graph.structuring import Structures
from edgeopt.graph.workload import workload
from edgeopt.runtimes.onnxruntime import Session

Feeds = Mapping[str, NDArray[np.generic]]

OVERHEAD_BYTES = 8000
"""Of a small example: nodes, scales and zero points that a scheme adds, and biases, which stay wider."""

MAX_OPSET, MAX_IR = 25, 12


class ConformanceError(AssertionError):
    """A scheme breaks a promise."""


@dataclass(frozen=True, slots=True)
class RandomSamples:
    """Seeded inputs for a model: normal floats, integers below 8."""

    model: Model
    count: int = 8
    seed: int = 0

    @property
    def digest(self) -> str:
        """Of the samples."""
        return f"random-{self.count}-{self.seed}"

    def samples(self) -> Iterator[Feeds]:
        """The inputs, one inference each."""
        rng = np.random.default_rng(self.seed)
        for _ in range(self.count):
            yield {
                spec.name: _random(rng, spec.dtype, [d or 1 for d in spec.shape])
                for spec in self.model.inputs
            }


@dataclass(frozen=True, slots=True)
class Bench:
    """A model with all that is needed to build and judge its candidates."""

    model: Model
    space: SearchSpace
    builder: Builder
    samples: RandomSamples

    @classmethod
    def of(
        cls,
        model: Model,
        folder: Path,
        *,
        unsigned: bool = False,
        seven_bits: bool = False,
        structure: bool = False,
    ) -> Bench:
        """Calibrate a frozen model on random inputs."""
        samples = RandomSamples(model)
        space = search_space(model, lossy=True, cores=2, structure=structure, unsigned=unsigned)
        ranges, statistics = collect(model, samples), Statistics(model, samples)
        changed = Structures(model, space.regions, samples, statistics) if structure else None
        return cls(
            model,
            space,
            Builder(
                model,
                space,
                ranges,
                folder / "built",
                MAX_OPSET,
                MAX_IR,
                unsigned=unsigned,
                seven_bits=seven_bits,
                statistics=statistics,
                structures=changed,
            ),
            samples,
        )

    def everywhere(self, scheme: str, rewrites: str = "off") -> Candidate:
        """`scheme` wherever it is an option, all exact rewrites `on` or `off`."""
        chosen = {
            p.site: scheme for p in self.space.points if p.family == "precision" and scheme in p.options
        }
        switched = {
            p.site: rewrites
            for p in self.space.points
            if p.family == "rewrite" and rewriting.is_exact(str(p.name))
        }
        return self.space.candidate(chosen | switched)

    def error(self, candidate: Candidate) -> float:
        """Largest relative error of an output over the samples, ||y - y0|| / ||y0||."""
        artifact = self.builder.build(candidate)
        original = Session(self.builder.build(self.space.default()).path, artifact.session_options)
        changed = Session(artifact.path, artifact.session_options)
        _check_interface((*original.inputs, *original.outputs), (*changed.inputs, *changed.outputs))
        return max(
            _relative_error(found, expected)
            for feeds in self.samples.samples()
            for found, expected in zip(changed.run(feeds), original.run(feeds), strict=True)
        )


def cases() -> list[tuple[str, int]]:
    """Every scheme with the number of each of its examples."""
    return [
        (name, index) for name in precision.names() for index in range(len(precision.scheme(name).EXAMPLES))
    ]


def check_example(name: str, index: int, folder: Path) -> None:
    """Hold a scheme to its promises on one of its examples.

    Raises:
        ConformanceError: It does not apply, changes inputs or outputs, is less accurate than promised, or
            the file is larger than promised.
        EdgeoptError: The candidate cannot be built, loaded or run, or what it costs cannot be predicted.
    """
    scheme = precision.scheme(name)
    bench = Bench.of(example(scheme.EXAMPLES[index], folder), folder)
    candidate = bench.everywhere(name)
    if name != precision.UNCHANGED and candidate == bench.space.default():
        raise ConformanceError(f"{name} applies nowhere in its own example {index}")
    if (error := bench.error(candidate)) > scheme.MAX_ERROR:
        raise ConformanceError(f"{name}, example {index}: error {error:.4f} above {scheme.MAX_ERROR}")
    if scheme.STATIC:
        _check_options(bench, candidate, scheme.MAX_ERROR)
    original, built = (bench.builder.build(c).size_bytes for c in (bench.space.default(), candidate))
    if built > original * scheme.WEIGHT_BITS / 32 + OVERHEAD_BYTES:
        raise ConformanceError(f"{name}, example {index}: {built} bytes from {original}")
    artifact = bench.builder.build(candidate)
    if not workload(artifact, {spec.name: tuple(d or 1 for d in spec.shape) for spec in bench.model.inputs}):
        raise ConformanceError(f"{name}, example {index}: nothing is executed")


def _check_options(bench: Bench, candidate: Candidate, most: float) -> None:
    """Each way to choose ranges, to round and scale weights and to write activations keeps the promise."""
    for site in (point.site for point in bench.space.points if point.family == "quantization"):
        for option in bench.space[site].options:
            changed = bench.space.candidate({**dict(candidate.decisions), site: option})
            if (error := bench.error(changed)) > most:
                raise ConformanceError(f"{site} = {option}: error {error:.4f} above {most}")


def check_mixes(bench: Bench, count: int, seed: int) -> list[float]:
    """Build, load and run `count` seeded random candidates with exact rewrites; returns their errors.

    Raises:
        ConformanceError: One changes inputs or outputs, or computes what is not finite.
        EdgeoptError: One cannot be built, loaded or run.
    """
    approximate = {
        point.site: point.default
        for point in bench.space.points
        if point.family == "rewrite" and not rewriting.is_exact(str(point.name))
    }  # they change what is computed, whatever the precision
    mixed = random_candidates(bench.space, count, seed)
    exact = (bench.space.candidate(dict(candidate.decisions) | approximate) for candidate in mixed)
    errors = [bench.error(candidate) for candidate in exact]
    if not np.isfinite(errors).all():
        raise ConformanceError(f"mixed candidates give errors {errors}")
    return errors


def random_candidates(space: SearchSpace, count: int, seed: int) -> Iterator[Candidate]:
    """Seeded uniform candidates."""
    chooser = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(count):
        yield space.candidate({point.site: chooser.choice(point.options) for point in space.points})


def example(text: str, folder: Path, seed: int = 0) -> Model:
    """A frozen model from `onnx.parser` text; declared values that nothing computes become random weights."""
    proto = parser.parse_model(text)
    fill_weights(proto, seed)
    path = folder / "example.onnx"
    onnx.save(proto, path)
    return freeze(load(path), {})


def fill_weights(proto: onnx.ModelProto, seed: int = 0) -> None:
    """Turn declared values that nothing computes into random initializers that keep activations near 1."""
    rng = np.random.default_rng(seed)
    known = {name for node in proto.graph.node for name in node.output}
    known |= {value.name for value in proto.graph.initializer}
    missing = [value for value in proto.graph.value_info if value.name not in known]
    for value in missing:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else max([shape[0], 8] if shape else [8])
        weight = rng.standard_normal(shape) / np.sqrt(fan_in)
        proto.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), value.name))
        proto.graph.value_info.remove(value)


def _check_interface(expected: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> None:
    """Names, order, types and shapes are kept; sizes that the original leaves open may be fixed."""
    same = len(expected) == len(found) and all(
        (old.name, old.dtype, len(old.shape)) == (new.name, new.dtype, len(new.shape))
        and all(before in (None, after) for before, after in zip(old.shape, new.shape, strict=True))
        for old, new in zip(expected, found, strict=True)
    )
    if not same:
        raise ConformanceError(
            f"inputs or outputs were changed: {', '.join(map(str, expected))} -> {', '.join(map(str, found))}"
        )


def _random(rng: np.random.Generator, dtype: str, shape: Iterable[int]) -> NDArray[np.generic]:
    if dtype.startswith("float"):
        return rng.standard_normal(tuple(shape)).astype(dtype)
    return rng.integers(0, 2 if dtype == "bool" else 8, tuple(shape)).astype(dtype)


def _relative_error(found: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    if expected.size == 0:
        return 0.0
    found64, expected64 = found.astype(np.float64), expected.astype(np.float64)
    return float(np.linalg.norm(found64 - expected64) / max(float(np.linalg.norm(expected64)), 1e-12))
