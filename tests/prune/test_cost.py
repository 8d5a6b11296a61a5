"""What torch counts: fused kernels, too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeticket.pipeline.prune.cost import count


class First(nn.Module):
    """The outputs of a recurrent layer without its states."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(x)[0]
        return outputs


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_multiply_at_every_step(kind: type[nn.RNNBase], both: bool) -> None:
    layer = kind(5, 7, num_layers=2, batch_first=True, bidirectional=both)
    matrices = sum(p.numel() for name, p in layer.named_parameters() if "weight" in name)
    assert count(First(layer), (11, 5)).macs == 11 * matrices


def test_a_transformers_layer_multiplies() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert count(layer, (10, 8)).macs == 10 * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * 10 * 10 * 8


def test_what_has_no_weights_costs_nothing() -> None:
    assert count(nn.ReLU(), (4,)) == (0, 0)
