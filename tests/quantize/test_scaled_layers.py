"""Layers whose output the network scales by stored numbers, and layers that cannot be trained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from edgeticket.pipeline.quantize import fold_bn
from edgeticket.pipeline.quantize.write_back import write_layers

TAKES = (3, 6, 6)


class Scaled(nn.Module):
    """A convolution, perhaps a norm, and what happens to it behind."""

    def __init__(self, then: Callable[[Tensor], Tensor], *, norm: bool, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=bias)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.then = then
        if norm:
            nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
            nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.norm(self.conv(x)))


BY_CHANNEL = torch.tensor([0.3, -2.0, 7.0, 0.01]).reshape(4, 1, 1)
SCALINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "one number": lambda x: x * 0.1,
    "by channel": lambda x: x * BY_CHANNEL,
    "shifted": lambda x: x * BY_CHANNEL + 3,
    "twice": lambda x: (x / 3 - 1) * BY_CHANNEL,
}


def trained(module: nn.Module) -> tuple[nn.Module, Tensor]:
    """The folded module with other weights, and examples."""
    torch.manual_seed(1)
    folded = fold_bn(module, TAKES)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return folded, torch.randn(3, *TAKES)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_new_weights_are_divided_by_what_scales_the_layer(scaling: str, norm: bool) -> None:
    torch.manual_seed(0)
    module = Scaled(SCALINGS[scaling], norm=norm, bias=not norm).eval()
    folded, x = trained(module)
    original = fold_bn(module, TAKES)
    assert [node.op for node in original.graph.nodes].count("call_module") == 1  # one layer of all
    expected = folded(x)
    assert not torch.allclose(module(x), expected, atol=1e-2)
    write_layers(module, original, folded)
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)
    again = fold_bn(module, TAKES)
    for (name, weight), new in zip(folded.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(new, weight, rtol=1e-6, atol=1e-6, msg=name)


def test_channels_that_are_scaled_by_zero_keep_their_weights() -> None:
    torch.manual_seed(0)
    factor = torch.tensor([1.0, 0.0, 2.0, 1.0]).reshape(4, 1, 1)
    module = Scaled(lambda x: x * factor, norm=False).eval()
    before = module.conv.weight.detach().clone()
    folded, _ = trained(module)
    write_layers(module, fold_bn(module, TAKES), folded)
    assert torch.equal(module.conv.weight[1], before[1])
    assert not torch.equal(module.conv.weight[0], before[0])
    assert torch.isfinite(module.conv.bias).all()
