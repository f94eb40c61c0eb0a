"""The policy that a study begins with: untrained, the one that edgeopt ships, or a file of one's own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeopt.core import plugins
from edgeopt.core.errors import ConfigError
from edgeopt.search import weights
from edgeopt.search.features import CONTEXT_FEATURES, HIDDEN, OPTION_FEATURES, VERSION
from edgeopt.search.weights import Arrays

SCRATCH, PRETRAINED = "scratch", "pretrained"
DEFAULT = SCRATCH
SHIPPED = Path(__file__).parent / "pretrained" / "policy.npz"
FORMAT = "edgeopt policy"
ACTOR, CRITIC = CONTEXT_FEATURES + OPTION_FEATURES, CONTEXT_FEATURES + 2 * OPTION_FEATURES
SHAPES: dict[str, tuple[int, ...]] = {
    "mlp_extractor.rule": (OPTION_FEATURES,),
    "mlp_extractor.score.0.weight": (HIDDEN, ACTOR),
    "mlp_extractor.score.0.bias": (HIDDEN,),
    "mlp_extractor.score.2.weight": (HIDDEN, HIDDEN),
    "mlp_extractor.score.2.bias": (HIDDEN,),
    "mlp_extractor.output.weight": (1, HIDDEN),
    "mlp_extractor.output.bias": (1,),
    "mlp_extractor.value.0.weight": (HIDDEN, CRITIC),
    "mlp_extractor.value.0.bias": (HIDDEN,),
    "mlp_extractor.value.2.weight": (HIDDEN, HIDDEN),
    "mlp_extractor.value.2.bias": (HIDDEN,),
    "value_net.weight": (1, HIDDEN),
    "value_net.bias": (1,),
}
"""Of the network in `search.policy`, by name: it does not depend on the model, nor on the board."""


@dataclass(frozen=True, slots=True)
class InitialPolicy:
    """Where the agent starts.

    Attributes:
        digest: SHA-256 of the file; `scratch` without one.
        arrays: Weights by name; None for an untrained policy.
    """

    digest: str = SCRATCH
    arrays: Arrays | None = None


def load(name: str) -> InitialPolicy:
    """`scratch`, `pretrained`, or the path of a file that `benchmarks.pretrain_policy` wrote.

    Raises:
        ConfigError: No such file, no policy, or one of other features than this version's.
    """
    if name == SCRATCH:
        return InitialPolicy()
    path = SHIPPED if name == PRETRAINED else Path(name)
    try:
        content = path.read_bytes()
        arrays, header = weights.load(content)
    except OSError as error:
        raise ConfigError(
            f"--policy {name}: {error.strerror or error}", hint="scratch, pretrained, or a file"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"--policy {path} is not a policy: {error}", hint="scratch, pretrained, or a file"
        ) from error
    _check(path, arrays, header)
    return InitialPolicy(hashlib.sha256(content).hexdigest(), arrays)


def of_sampler(sampler: str, name: str | None) -> InitialPolicy | None:
    """What a sampler's agent starts from; None for a sampler that has no agent.

    Args:
        name: As for `load`; None where nobody said.

    Raises:
        ConfigError: The policy cannot be used, or was asked for where there is no agent.
    """
    if getattr(plugins.load("samplers", sampler), "TAKES_POLICY", False):
        return load(name or DEFAULT)
    if name is not None:
        raise ConfigError(f"--policy: sampler {sampler} has no agent", hint="leave it out, or --sampler ppo")
    return None


def dump(arrays: Arrays, **facts: object) -> bytes:
    """The file of a policy; `facts` go to its header."""
    return weights.dump(arrays, {"format": FORMAT, "features": VERSION, **facts})


def _check(path: Path, arrays: Arrays, header: dict[str, object]) -> None:
    hint = "train one for this version (benchmarks/pretrain_policy.py), or --policy scratch"
    if header.get("format") != FORMAT:
        raise ConfigError(f"--policy {path} holds arrays, but no policy", hint=hint)
    if header.get("features") != VERSION:
        raise ConfigError(
            f"--policy {path} was trained on version {header.get('features')} of the features, this is "
            f"version {VERSION}",
            hint=hint,
        )
    found = {name: array.shape for name, array in arrays.items()}
    if found != SHAPES:
        wrong = sorted(name for name in found.keys() | SHAPES.keys() if found.get(name) != SHAPES.get(name))
        raise ConfigError(
            f"--policy {path}: {wrong[0]} is {_size(found.get(wrong[0]))}, the network here takes "
            f"{_size(SHAPES.get(wrong[0]))}",
            hint=hint,
        )
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values()):
        raise ConfigError(f"--policy {path} holds values that are no finite float32 numbers", hint=hint)


def _size(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "×".join(map(str, shape))
