"""Weights of a folded graph back into the network that it was folded from."""

from __future__ import annotations

import torch
from torch import fx, nn

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.graph.module import Layer
from edgeticket.pipeline.quantize.destinations import destinations
from edgeticket.pipeline.quantize.fold import fold_bn


def written_back(network: Network, folded: fx.GraphModule) -> Network:
    """``network`` with the weights of ``folded``, a graph of the same names as its own folding.

    Batch normalisation becomes the identity plus the layer's bias, so that folding the result
    gives the weights of ``folded`` to the last bit. What a network computes from what it stores
    (weight_norm; a layer whose output it scales by stored numbers) is right but for the last bit.
    Layers whose weights are as they were, stay.

    Raises:
        InputError: a layer has new weights whose place in the network is unknown (`stuck_layers`).
    """
    module = network.module()
    write_layers(module, fold_bn(module, network.input_shapes), folded)
    return network.with_weights(module)


def write_layers(module: nn.Module, original: fx.GraphModule, folded: fx.GraphModule) -> None:
    """Put the weights of ``folded`` into ``module``, whose own folding is ``original``."""
    for name, place in destinations(module, original).items():
        if _are_equal(original, folded, name):
            continue
        if isinstance(place, InputError):
            raise place
        source = folded.get_submodule(name)
        assert isinstance(source, Layer)
        place.write(source)
    _write_constants(folded, module)


def stuck_layers(network: Network) -> frozenset[str]:
    """Layers of the folded network that `written_back` can give no new weights, by name."""
    module = network.module()
    places = destinations(module, fold_bn(module, network.input_shapes))
    return frozenset(name for name, place in places.items() if isinstance(place, InputError))


@torch.no_grad()
def _write_constants(folded: fx.GraphModule, module: nn.Module) -> None:
    """Parameters that are no layer's: of norms, and the like."""
    for node in folded.graph.nodes:
        if node.op == "get_attr":
            tensor = getattr(folded, str(node.target))
            if isinstance(tensor, nn.Parameter):
                module.get_parameter(node.meta["constant"]).copy_(tensor)


def _are_equal(original: fx.GraphModule, folded: fx.GraphModule, name: str) -> bool:
    before, after = (m.get_submodule(name).state_dict() for m in (original, folded))
    return all(torch.equal(before[key], after[key]) for key in before)
