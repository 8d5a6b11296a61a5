"""Averages that leave padding out of their count."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.operator_fixtures import check_float, check_int8


class Pooled(nn.Module):
    """A pool between convolutions."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.pool, self.last = nn.Conv2d(3, 8, 3), pool, nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.pool(torch.relu(self.first(x))))
        return result


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),  # as TFLite's SAME
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AvgPool2d(2, 1, 1, count_include_pad=False),
        nn.AvgPool2d(3, 2, ceil_mode=True),
    ],
    ids=["same", "by_two", "even", "rounded_up"],
)
def test_padding_that_is_not_counted(pool: nn.Module) -> None:
    network = Pooled(pool).eval()
    x = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    check_float(network, [x])
    assert check_int8(network, [x]) == 1.0
