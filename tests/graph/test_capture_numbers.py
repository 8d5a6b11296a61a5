"""Numbers that a forward takes out of tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.graph.capture import OPAQUE, capture
from edgeticket.pipeline.graph.module import to_module


class Scaled(nn.Module):
    """Scaled by the number in a stored tensor, or by the sum of what comes in."""

    def __init__(self, *, by_input: bool) -> None:
        super().__init__()
        self.layer, self.by_input = nn.Conv2d(3, 4, 3), by_input
        self.register_buffer("scale", torch.full((1,), 2.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        number = x.sum() if self.by_input else self.scale
        return self.layer(x) * number.item()  # type: ignore[no-any-return]


def test_a_stored_number_is_that_number() -> None:
    module = Scaled(by_input=False).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(to_module(capture(module, (3, 8, 8)))(x), module(x))


def test_a_computed_number_is_refused_or_opaque() -> None:
    module = Scaled(by_input=True).eval()
    with pytest.raises(InputError, match="computes a number from the input"):
        capture(module, (3, 8, 8))
    graph = capture(module, (3, 8, 8), opaque=True)
    assert [op.kind for op in graph.operators] == ["Conv", OPAQUE]
