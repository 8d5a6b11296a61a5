"""Folded weights go back whatever the batch normalisation was before, to the last bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from edgeticket.models.network import Network
from edgeticket.pipeline.quantize import fold_bn, written_back

TAKES = (3, 32, 32)


class Trained(nn.Module):
    """Layers with a bias of their own, and statistics that training has moved."""

    def __init__(self, eps: float, *, affine: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=True)
        self.bn = nn.BatchNorm2d(4, eps=eps, affine=affine)
        self.bare = nn.Conv2d(4, 5, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(5, eps=eps, affine=affine)
        self.head = nn.Linear(5, 6, bias=True)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in self.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.conv(x)))
        x = torch.relu(self.bn2(self.bare(x)))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [1e-8, 1e-5, 1e-3, 0.1, 0.3])
def test_a_trained_network_folds_into_what_was_written_back(eps: float, affine: bool) -> None:
    module = Trained(eps, affine=affine).eval()
    before = copy.deepcopy(module.state_dict())
    written: list[nn.Module] = []

    class Stub(Network):
        def module(self) -> nn.Module:
            return copy.deepcopy(module)

        def with_weights(self, module: nn.Module) -> Network:
            written.append(module)
            return self

    folded = fold_bn(module, TAKES)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.mul_(1.37)
    written_back(Stub("resnet20", {}, {}), folded)
    again = fold_bn(written[0], TAKES).state_dict()
    for name, tensor in folded.state_dict().items():
        assert torch.equal(again[name], tensor), name
    for name, tensor in module.state_dict().items():
        assert torch.equal(before[name], tensor), name  # the network's own are left alone
