"""Runs a model over a part of the data, carrying its state from sample to sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.data.dataset import Feeds
from edgeopt.data.fit import Array
from edgeopt.data.split import Part

Run = Callable[[Feeds], list[Array]]


def stream(
    part: Part, run: Run, *, state: Mapping[str, str], output_names: Sequence[str]
) -> Iterator[tuple[Feeds, list[Array]]]:
    """Each sample's inputs as they were really fed, and its outputs.

    The samples of one group are one stream, in their order: the state inputs of the first are what the
    data or the fixed inputs say (`fixed.with_state` makes them zeros), those of the next are the outputs
    of the one before. Without groups every sample is a stream of its own.

    Args:
        state: `{output: input}`.
        output_names: Of the model, in the order in which `run` returns them.

    Raises:
        ConfigError: `state` names no output or input of the model.
        DataError: A state output does not fit its input.
    """
    groups = part.groups
    if not state or groups is None:
        for feeds in part.samples():
            _check_inputs(state, feeds)
            yield feeds, run(feeds)
        return
    places = {source: _place(source, output_names) for source in state}
    left = Counter(groups.tolist())
    carried: dict[object, dict[str, Array]] = {}
    for group, feeds in zip(groups.tolist(), part.samples(), strict=True):
        _check_inputs(state, feeds)
        fed = {**feeds, **carried.get(group, {})}
        outputs = run(fed)
        yield fed, outputs
        left[group] -= 1
        if left[group]:
            carried[group] = {t: _carry(outputs[places[s]], fed[t], s, t) for s, t in state.items()}
        else:  # a stream that has ended needs no memory
            carried.pop(group, None)


def check_state(state: Mapping[str, str], input_names: Sequence[str], output_names: Sequence[str]) -> None:
    """See that a model has the inputs and outputs of its state, before any data is read.

    Args:
        state: `{output: input}`.

    Raises:
        ConfigError: It names an output or input that the model has not, or one input twice.
    """
    for source, target in state.items():
        _place(source, output_names)
        _check_input(target, input_names)
    if twice := sorted({name for name in state.values() if list(state.values()).count(name) > 1}):
        raise ConfigError(f"state: the input {twice[0]!r} is fed by more than one output")


def _place(name: str, output_names: Sequence[str]) -> int:
    if name not in output_names:
        raise ConfigError(
            f"state: the model has no output {name!r}", hint=f"it has {', '.join(output_names)}"
        )
    return output_names.index(name)


def _check_inputs(state: Mapping[str, str], feeds: Feeds) -> None:
    for name in state.values():
        _check_input(name, feeds)


def _check_input(name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ConfigError(f"state: the model has no input {name!r}", hint=f"it has {', '.join(known)}")


def _carry(value: Array, before: Array, source: str, target: str) -> Array:
    if (value.shape, value.dtype) != (before.shape, before.dtype):
        raise DataError(
            f"state: output {source!r} is {value.dtype}{list(value.shape)}, "
            f"input {target!r} takes {before.dtype}{list(before.shape)}"
        )
    return value
