"""A network whose weights are multiplied by gates, as a module that `pipeline.train` can train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.network import Network
from pipeline.mask import Mask
from pipeline.tickets.prunable import prunable


class Masked(nn.Module):
    """``module`` with a gate on each prunable weight; inputs and outputs are its own.

    What the gates are is said by the classes below it. They keep one flat tensor for the gates of
    all layers, because one large operation is cheaper than many small ones. Everything that a
    resumed run needs is a parameter or a buffer.
    """

    def __init__(
        self, network: Network, exclude: Sequence[str], *, steps: int, frozen: bool
    ) -> None:
        """``steps`` is the length of the training; ``frozen`` weights are not trained."""
        super().__init__()
        self.module = network.module()
        weights = prunable(self.module, exclude)
        self.shapes = {name: weight.shape for name, weight in weights.items()}
        self.sizes = [weight.numel() for weight in weights.values()]
        self.size = sum(self.sizes)
        self.steps = steps
        self.step: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.frozen = frozen
        if frozen:
            self.module.requires_grad_(False)
        for layer in self.module.modules():
            if frozen and isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()  # no scale and shift but 1 and 0; statistics are taken

    def gates(self) -> Tensor:
        """The gates [size], for training or for evaluation."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.step += 1
        outputs: Tensor = functional_call(self.module, self.gated(self.gates()), (x,))
        return outputs

    def gated(self, gates: Tensor) -> dict[str, Tensor]:
        """Gates [size] -> the weights that they multiply, by name, multiplied."""
        parts = self.split(gates)
        return {name: self.module.get_parameter(name) * gate for name, gate in parts.items()}

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """One number for each gate, flat -> by name, in the shapes of the weights."""
        parts = zip(self.shapes.items(), torch.split(flat, self.sizes), strict=True)
        return {name: part.view(shape) for (name, shape), part in parts}

    def weights(self) -> Tensor:
        """The prunable weights, flat."""
        return torch.cat([self.module.get_parameter(name).flatten() for name in self.shapes])

    def share_done(self) -> float:
        """The share of the training that is done, 0..1."""
        return min(1.0, int(self.step) / self.steps)

    def as_network(self, network: Network) -> Network:
        """``network``, of which this was made, with the weights as they are now."""
        return network.with_weights(self.module)

    def as_mask(self, kept: Mapping[str, Tensor]) -> Mask:
        """Bool tensors by name -> a mask on the CPU."""
        return Mask({name: part.detach().cpu().clone() for name, part in kept.items()})
