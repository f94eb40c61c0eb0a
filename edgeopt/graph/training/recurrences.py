"""LSTM, GRU and RNN in torch, step by step: what `torch.func.vmap` can batch.

Known are the usual activations, all directions and both layouts; not peepholes, clipping, coupled gates and
sequences of different lengths.

Source: ONNX operators LSTM, GRU and RNN, version 14 and 22.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgeopt.graph.training.operators import Call, Inputs, Operator

Step = Callable[[Tensor, "tuple[Tensor, ...]"], "tuple[Tensor, ...]"]
"""(what the input adds to the gates (N, G·H), state) -> the next state, its output first."""

USUAL = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _run(call: Call, inputs: Inputs) -> tuple[Tensor, ...]:
    x, w, r, b, lengths, *states = [*inputs, *[None] * (8 - len(inputs))][:8]
    assert x is not None and w is not None and r is not None  # noqa: S101, PT018 - the checker has seen them
    _check(call, states[2], lengths, x)
    directions, hidden = r.shape[0], r.shape[-1]
    is_batch_first = bool(call.get("layout", 0))
    x = x.transpose(0, 1) if is_batch_first else x
    outputs, lasts = [], []
    for d in range(directions):
        first = []
        for state in states[: 2 if call.op_type == "LSTM" else 1]:
            if state is None:
                first.append(torch.zeros(x.shape[1], hidden, dtype=x.dtype))
            else:
                first.append(state[:, d] if is_batch_first else state[d])
        bias = None if b is None else b[d]
        is_backward = call.get("direction", "forward") == "reverse" or d == 1
        found, last = _one_way(call, x, w[d], r[d], bias, tuple(first), is_backward=is_backward)
        outputs.append(found)
        lasts.append(last)
    y = torch.stack(outputs, dim=1)  # (T, D, N, H)
    ends = [torch.stack(parts, dim=1 if is_batch_first else 0) for parts in zip(*lasts, strict=True)]
    return (y.permute(2, 0, 1, 3) if is_batch_first else y, *ends)


def _check(call: Call, peepholes: Tensor | None, lengths: Tensor | None, x: Tensor) -> None:
    usual = USUAL[call.op_type] * 2
    names = [str(name).lower() for name in call.get("activations") or usual]
    if names != usual[: len(names)] or call.get("activation_alpha") or call.get("activation_beta"):
        raise call.refuse(f"its activations are {', '.join(names)}")
    if call.get("clip") is not None or call.get("input_forget", 0) or peepholes is not None:
        raise call.refuse("it has peepholes, coupled gates or clipping")
    steps = x.shape[1 if call.get("layout", 0) else 0]
    if lengths is not None and any(length != steps for length in lengths.reshape(-1).tolist()):
        raise call.refuse("its sequences have different lengths")


def _one_way(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None,
    state: tuple[Tensor, ...],
    *,
    is_backward: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All outputs (T, N, H), and the last state."""
    width = GATES[call.op_type] * r.shape[-1]
    of_input, of_state = (None, None) if bias is None else (bias[:width], bias[width:])
    given = x @ w.T if of_input is None else x @ w.T + of_input
    step = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[call.op_type](call, r, of_state)
    found: list[Tensor] = []
    for t in reversed(range(x.shape[0])) if is_backward else range(x.shape[0]):
        state = step(given[t], state)
        found.append(state[0])
    return torch.stack(found[::-1] if is_backward else found), state


def _plus(product: Tensor, bias: Tensor | None) -> Tensor:
    return product if bias is None else product + bias


def _lstm(_: Call, r: Tensor, bias: Tensor | None) -> Step:
    def step(given: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = state
        i, o, f, g = (given + _plus(h @ r.T, bias)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return step


def _gru(call: Call, r: Tensor, bias: Tensor | None) -> Step:
    hidden = r.shape[-1]
    r_gates, r_new = r[: 2 * hidden].T, r[2 * hidden :].T
    b_gates, b_new = (None, None) if bias is None else (bias[: 2 * hidden], bias[2 * hidden :])
    resets_after = bool(call.get("linear_before_reset", 0))

    def step(given: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h = state[0]
        z, reset = torch.sigmoid(given[:, : 2 * hidden] + _plus(h @ r_gates, b_gates)).chunk(2, dim=-1)
        # Its products are taken before or after the reset: exporters differ in that.
        new = reset * _plus(h @ r_new, b_new) if resets_after else _plus((reset * h) @ r_new, b_new)
        new = torch.tanh(given[:, 2 * hidden :] + new)
        return ((1 - z) * new + z * h,)

    return step


def _rnn(_: Call, r: Tensor, bias: Tensor | None) -> Step:
    return lambda given, state: (torch.tanh(given + _plus(state[0] @ r.T, bias)),)


TABLE: dict[str, Operator] = dict.fromkeys(GATES, _run)
