"""Tickets of channels by magnitude and by penalties."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.recipe import (
    Budget,
    ChannelMagnitude,
    ChannelPenalty,
    DataConfig,
    TrainConfig,
)
from edgeticket.pipeline.tickets import TICKETS, Ticket
from edgeticket.pipeline.tickets.channel_magnitude import channel_norms
from edgeticket.pipeline.tickets.channel_penalty import channel_scales

DATA = load_dataset(
    DataConfig(name="digits", train=400, validation=200, test=100), seed=0, folder=Path()
)
SHORT = TrainConfig(epochs=2, batch_size=50, lr=0.05, warmup=0.0)
CONFIGS = {
    "channel_magnitude": {},
    "channel_penalty": {"train": SHORT},
    "channel_penalty bn_l1": {"train": SHORT, "penalty": "bn_l1"},
}


def find(network: Network, method: str, **fields: object) -> Ticket:
    cls = {"channel_magnitude": ChannelMagnitude, "channel_penalty": ChannelPenalty}
    name = method.split()[0]
    cfg = cls[name](method=name, **{"round_to": 2, **CONFIGS[method], **fields})  # type: ignore[arg-type]
    return TICKETS[name](network, DATA, cfg, seed=0)


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.fresh("resnet20", {"width": 4, "in_channels": 1}, seed=0)


def digits_network() -> Network:
    return Network.fresh("digits_cnn", {"width": 8}, seed=0)


@pytest.mark.parametrize("method", CONFIGS)
@pytest.mark.parametrize("budget", [Budget(macs=0.5), Budget(parameters=0.4)])
def test_the_budget_is_kept_and_nearly_used_up(method: str, budget: Budget) -> None:
    network = digits_network()
    ticket = find(network, method, budget=budget)
    narrow = shrink(ticket.start, ticket.mask)
    [(kind, share)] = budget.model_dump(exclude_none=True).items()
    before, after = (getattr(count(n.module(), n.input_shape), kind) for n in (network, narrow))
    assert 0.8 * share < after / before <= share
    assert ticket.log["reached_share"] == pytest.approx(after / before)
    x = torch.randn(4, 1, 28, 28)
    with torch.no_grad():
        masked = ticket.mask.apply(ticket.start).module()(x)
        torch.testing.assert_close(narrow.module()(x), masked, atol=1e-5, rtol=1e-5)


def test_norms_add_up_over_the_layers_of_a_group(network: Network) -> None:
    module = network.module()
    for group in find_groups(module, network.input_shape):
        expected = torch.zeros(group.width)
        for layer, span in group.producers.items():
            weight = module.get_submodule(layer).weight
            if weight.ndim > 1:
                for index, channel in zip(span.indices, span.channels, strict=True):
                    expected[channel] += weight[index].square().sum()
        torch.testing.assert_close(channel_norms(module, group), expected.sqrt())


def test_the_smallest_channels_of_a_group_go() -> None:
    network = digits_network()
    ticket = find(network, "channel_magnitude", budget=Budget(macs=0.5))
    kept = ticket.mask.tensors["features.3.weight"].flatten(1).any(1)
    norms = network.weights["features.3.weight"].flatten(1).norm(dim=1)
    assert norms[kept].min() >= norms[~kept].max()


@pytest.mark.parametrize("penalty", ["group_l2", "bn_l1"])
def test_a_penalty_spreads_the_sizes_that_it_is_about(penalty: str) -> None:
    network = digits_network()
    sizes = {"group_l2": channel_norms, "bn_l1": channel_scales}[penalty]
    longer = SHORT.model_copy(update={"epochs": 8})
    totals = []
    for strength in (1e-9, 3e-2):
        ticket = find(
            network,
            "channel_penalty",
            budget=Budget(macs=0.5),
            penalty=penalty,
            strength=strength,
            train=longer,
        )
        module = ticket.start.module()
        groups = find_groups(module, network.input_shape)
        totals.append(sum(sizes(module, group).sum().item() for group in groups))
    assert totals[1] < 0.8 * totals[0]


def test_scales_need_batch_norm() -> None:
    with pytest.raises(InputError, match=r"bn_l1 needs batch norm behind .* use group_l2"):
        find(
            Network.fresh("lenet300", {}, seed=0), "channel_penalty bn_l1", budget=Budget(macs=0.5)
        )
