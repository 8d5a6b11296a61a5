"""A network whose weights are multiplied by gates, as a module that `pipeline.train` can train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgeticket.models.network import Network
from edgeticket.pipeline.data import Split
from edgeticket.pipeline.network.layers import BatchNorm
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.tickets.prunable import prunable
from edgeticket.pipeline.train import steps_per_epoch


@dataclass(frozen=True)
class Span:
    """The length of a training."""

    epochs: int
    per_epoch: int  # steps

    @classmethod
    def of(cls, split: Split, cfg: TrainConfig) -> Span:
        """That of training with ``cfg`` on ``split``."""
        return cls(cfg.epochs, steps_per_epoch(split, cfg))

    @property
    def steps(self) -> int:
        """All steps."""
        return self.epochs * self.per_epoch


class Masked(nn.Module):
    """``module`` with a gate on each prunable weight; inputs and outputs are its own.

    What the gates are is said by the classes below it. They keep one flat tensor for the gates of
    all layers, because one large operation is cheaper than many small ones. Everything that a
    resumed run needs is a parameter, a buffer, or the number of the step.
    """

    def __init__(
        self, network: Network, exclude: Sequence[str], *, span: Span, frozen: bool
    ) -> None:
        """``span`` is the length of the training; ``frozen`` weights are not trained."""
        super().__init__()
        self.module = network.module()
        weights = prunable(self.module, exclude)
        self.shapes = {name: weight.shape for name, weight in weights.items()}
        self.sizes = [weight.numel() for weight in weights.values()]
        self.size = sum(self.sizes)
        self.span = span
        self.step = 0  # a plain number: reading a tensor would wait for the device
        self.frozen = frozen
        if frozen:
            self.module.requires_grad_(False)
        for layer in self.module.modules():
            if frozen and isinstance(layer, BatchNorm):
                layer.reset_parameters()  # no scale and shift but 1 and 0; statistics are taken

    def gates(self) -> Tensor:
        """The gates [size], for training or for evaluation."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Any:
        if self.training:
            self.step += 1
        return functional_call(self.module, self.gated_weights(), inputs)

    def gated_weights(self) -> dict[str, Tensor]:
        """The weights that gates multiply, by name, multiplied."""
        return self.gated(self.gates())

    def gated(self, gates: Tensor) -> dict[str, Tensor]:
        """Gates [size] -> the weights that they multiply, by name, multiplied."""
        parts = self.split(gates)
        return {name: self.module.get_parameter(name) * gate for name, gate in parts.items()}

    def split(self, numbers: Tensor) -> dict[str, Tensor]:
        """One number for each gate, flat -> by name, in the shapes of the weights."""
        parts = zip(self.shapes.items(), torch.split(numbers, self.sizes), strict=True)
        return {name: unflatten(part, shape) for (name, shape), part in parts}

    def weights(self) -> Tensor:
        """The prunable weights, flat."""
        return torch.cat([flatten(self.module.get_parameter(name)) for name in self.shapes])

    def share_done(self) -> float:
        """The share of the training that is done, 0..1."""
        return min(1.0, self.step / self.span.steps)

    def get_extra_state(self) -> int:
        return self.step

    def set_extra_state(self, state: int) -> None:
        self.step = state

    def as_network(self, network: Network) -> Network:
        """``network``, of which this was made, with the weights as they are now."""
        return network.with_weights(self.module)

    def as_mask(self, kept: Mapping[str, Tensor]) -> Mask:
        """Bool tensors by name -> a mask on the CPU."""
        return Mask({n: k.detach().cpu().contiguous().clone() for n, k in kept.items()})


def flatten(weight: Tensor) -> Tensor:
    """Weight [out, in, ...] -> [size], the inputs of one position side by side.

    That is how the training loop stores convolutions (channels-last), so it copies nothing there.
    """
    return weight.movedim(1, -1).reshape(-1)


def unflatten(numbers: Tensor, shape: torch.Size) -> Tensor:
    """What `flatten` made flat, back in the ``shape`` of the weight; a view."""
    return numbers.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
