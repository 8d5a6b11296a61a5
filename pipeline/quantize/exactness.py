"""Whether int8 codes give the weights back."""

from __future__ import annotations

import numpy as np
import torch
from torch import fx

from edgeticket.pipeline.quantize.joins import requantised
from edgeticket.pipeline.quantize.scales import WEIGHT_HIGHEST, Scales


def exact_share(folded: fx.GraphModule, scales: Scales) -> float:
    """The share of the folded weights, 0..1, that code × scale gives back.

    That product is taken as a real number, and it may differ from the float32 weight by one unit in
    the last place: the scale of a channel is a float32 itself.
    """
    exact, total = 0, 0
    folded = requantised(folded, scales.weights)
    for name, of_channels in scales.weights.items():
        weight = folded.get_submodule(name).get_parameter("weight").detach().flatten(1)
        scale = torch.tensor(of_channels, dtype=torch.float64)[:, None]
        codes = (weight.double() / scale).round().clamp(-WEIGHT_HIGHEST, WEIGHT_HIGHEST)
        unit = torch.from_numpy(np.spacing(weight.abs().numpy())).double()
        exact += int(((codes * scale - weight.double()).abs() <= unit).sum())
        total += weight.numel()
    return exact / total
