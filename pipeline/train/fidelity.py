"""Learning to answer as another network does, from examples alone: no targets are needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgeticket.pipeline.graph.batches import Batch, leaves_of, tensors_of

TINY = 1e-12  # an output that is always 0 has no power to compare an error with


class Fidelity:
    """A loss: the power of the error of each output, relative to the output's own; their mean.

    It is what the signal-to-noise ratio in dB is the logarithm of, over a batch (Polino et al.,
    "Model compression via distillation and quantization" (2018), with the network itself as the
    teacher).

    Args:
        reference: the network that is imitated; it is not trained.
    """

    def __init__(self, reference: nn.Module) -> None:
        self.reference = reference.eval()

    def __call__(self, outputs: Any, seen: Batch) -> Tensor:
        """Outputs for a batch, and the batch as networks take it -> the loss."""
        answers = leaves_of(outputs)
        with torch.no_grad():
            inputs = tensors_of(seen)
            wanted = leaves_of(self.reference.to(inputs[0].device)(*inputs))
        errors = [
            (answer.float() - real).square().mean() / (real.square().mean() + TINY)
            for answer, real in zip(answers, wanted, strict=True)
            if real.is_floating_point()
        ]
        return torch.stack(errors).mean()
