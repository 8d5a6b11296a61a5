"""Recurrent layers stay whole while a module is traced.

`torch.export` keeps them as one node each, but to know the shapes of what they return it runs them
step by step on symbolic tensors: a hundred steps take ten seconds. Operators of the same schemas
that know their shapes take their places meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_library: Any = torch.library.Library("edgeticket", "DEF")  # type: ignore[no-untyped-call]


def _defined(name: str) -> Callable[..., Any]:
    """An operator with the schema of the ATen operator ``name``, for tensors that are padded."""
    source = getattr(torch.ops.aten, name).input
    _library.define(str(source._schema).removeprefix("aten::").replace(".input", "", 1))
    _library.impl(name, source, "CompositeExplicitAutograd")

    def shapes(
        input: Tensor,
        hx: Tensor | Sequence[Tensor],
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        states = [hx] if isinstance(hx, Tensor) else list(hx)
        size = states[0].shape[-1] * (1 + bidirectional)
        sequence = input.new_empty((*input.shape[:2], size))
        return sequence, *(torch.empty_like(state) for state in states)

    torch.library.register_fake(f"edgeticket::{name}", shapes, lib=_library)
    return getattr(torch.ops.edgeticket, name)  # type: ignore[no-any-return]


RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


class WholeLayers(TorchFunctionMode):
    """Within it LSTM, GRU and RNN of PyTorch are one operator each."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        stands = WHOLE.get(func)
        # The form for packed sequences, which has its weights in the fourth place, stays as it is.
        if stands is not None and len(args) == 9 and isinstance(args[3], bool):
            return stands(*args)
        return func(*args, **(kwargs or {}))


WHOLE: dict[Any, Callable[..., Any]] = {getattr(torch, name): _defined(name) for name in RECURRENT}
