"""Random weights of a kind: what strong tickets are found in."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from edgeticket.models.network import Network
from edgeticket.pipeline.network.draw import draw
from edgeticket.pipeline.network.layers import BatchNorm, Convolution

Init = Literal["default", "kaiming_normal", "uniform", "signed_constant"]


def initialise(network: Network, init: Init, *, seed: int, kept: float = 1.0) -> Network:
    """``network`` with new random weights that ``seed`` alone determines.

    With d = √(2 / (fan_in · kept)), He et al.'s deviation (2015) for the weights that are kept:
    ``kaiming_normal`` draws from N(0, d²), ``uniform`` from U(−√3·d, √3·d), ``signed_constant``
    is ±d (Ramanujan et al. 2020); `pipeline.network.draw` says how, to the bit. Biases become 0.
    ``default`` draws like PyTorch, biases too. What an architecture fixes, and batch norm, stay
    as they are when an architecture is new.

    Args:
        kept: the share of the weights that a ticket will keep.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = network.module()
        weights = dict(network.weights)
        for name, layer in module.named_modules():
            if isinstance(layer, Convolution | nn.Linear):
                if not layer.weight.requires_grad:
                    continue
                layer.reset_parameters()
                if init != "default":
                    tensor = f"{name}.weight"
                    drawn = draw(init, layer.weight.shape, name=tensor, seed=seed, kept=kept)
                    layer.weight.data = torch.from_numpy(drawn)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
            elif isinstance(layer, BatchNorm):
                layer.reset_parameters()
            else:
                continue
            for tensor_name, tensor in layer.state_dict().items():
                weights[f"{name}.{tensor_name}"] = tensor.clone()
    return replace(network, weights=weights)
