"""Masks, gates, and the choice of channels within a budget."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from training_fixtures import StopAfter

from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.prune.mask import Mask, channel_mask
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.recipe import Budget, DataConfig, StochasticGates, TrainConfig
from edgeticket.pipeline.tickets import TICKETS, Ticket
from edgeticket.pipeline.tickets.expected_cost import expected_macs
from edgeticket.pipeline.tickets.gated import Gated
from edgeticket.pipeline.tickets.selection import select_channels
from edgeticket.pipeline.train import evaluate, train

DATA = load_dataset(
    DataConfig(name="digits", train=600, validation=300, test=100), seed=0, folder=Path()
)


# --- masks


def test_a_mask_checks_itself() -> None:
    with pytest.raises(ValueError, match=r"mask of a is torch\.float32, not bool"):
        Mask({"a": torch.ones(3)})


def test_density_and_subsets() -> None:
    some = Mask({"a": torch.tensor([True, False, True, False])})
    fewer = Mask({"a": torch.tensor([True, False, False, False])})
    other = Mask({"a": torch.tensor([False, True, False, False])})
    assert (some.density, fewer.density, Mask({}).density) == (0.5, 0.25, 1.0)
    assert fewer.is_subset_of(some)
    assert some.is_subset_of(some)
    assert some.is_subset_of(Mask({}))
    assert not some.is_subset_of(fewer)
    assert not other.is_subset_of(some)
    assert not Mask({}).is_subset_of(some)


def test_apply_zeroes_and_refuses_what_does_not_fit() -> None:
    network = Network.fresh("lenet5", {}, seed=0)
    kept = torch.arange(10) < 4
    masked = Mask({"fc3.bias": kept}).apply(network).weights
    assert torch.equal(masked["fc3.bias"], network.weights["fc3.bias"] * kept)
    assert torch.equal(masked["fc3.weight"], network.weights["fc3.weight"])
    with pytest.raises(ValueError, match=r"mask of fc3.bias is \[9\], the tensor \[10\]"):
        Mask({"fc3.bias": kept[1:]}).apply(network)
    with pytest.raises(ValueError, match=r"mask of fc4\.bias"):
        Mask({"fc4.bias": kept}).apply(network)


# --- the choice of channels


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.floats(0, 1), round_to=st.sampled_from([1, 3, 4, 8]))
def test_selection_fills_the_budget_with_the_best(seed: int, share: float, round_to: int) -> None:
    share = max(share, {1: 0.05, 3: 0.15, 4: 0.2, 8: 0.5}[round_to])  # room for one block each
    scores = torch.randn(_CHANNELS, generator=torch.Generator().manual_seed(seed))
    limit = share * _DENSE
    kept = select_channels(scores, _GROUPS, _COST, limit=limit, round_to=round_to)
    assert float(_COST(torch.cat(kept).double())) <= limit * (1 + 1e-9)
    for group, k, s in zip(_GROUPS, kept, scores.split(_WIDTHS), strict=True):
        n = int(k.sum())
        assert n == group.width or (n % round_to == 0 and n >= round_to)
        # The best of each group are kept, and one more block of any group would not fit.
        assert n == group.width or s[k].min() >= s[~k].max()
        if n < group.width:
            more = [other.clone() for other in kept]
            more[_GROUPS.index(group)][s.argsort(descending=True)[: n + round_to]] = True
            assert float(_COST(torch.cat(more).double())) > limit


_DENSE_NETWORK = Network.fresh("resnet20", {"width": 8, "in_channels": 1}, seed=0)
_GROUPS = find_groups(_DENSE_NETWORK.module(), _DENSE_NETWORK.input_shape)
_WIDTHS = [group.width for group in _GROUPS]
_CHANNELS = sum(_WIDTHS)
_COST = expected_macs(_DENSE_NETWORK.module(), _GROUPS, _DENSE_NETWORK.input_shape)
_DENSE = float(_COST(torch.ones(_CHANNELS).double()))


def test_open_gates_come_before_blocks_that_are_nearly_open() -> None:
    scores = torch.full((_CHANNELS,), -0.1)
    first = scores[: _WIDTHS[0]]
    first[:] = -1.0
    first[:10] = 1.0  # the second block is, on average, more shut than any other
    limit = 0.6 * _DENSE
    kept = select_channels(scores, _GROUPS, _COST, limit=limit, round_to=8)
    assert kept[0][:10].all()


def test_a_budget_below_the_smallest_ticket_is_refused() -> None:
    with pytest.raises(InputError, match=r"costs 0.\d+ of the dense network \(one block of 8"):
        select_channels(torch.zeros(_CHANNELS), _GROUPS, _COST, limit=0.01 * _DENSE, round_to=8)


def test_expected_cost_is_the_mean_over_draws() -> None:
    probabilities = torch.rand(_CHANNELS, generator=torch.Generator().manual_seed(0)).double()
    draws = torch.rand(4000, _CHANNELS, generator=torch.Generator().manual_seed(1)).double()
    costs = torch.stack([_COST((draw < probabilities).double()) for draw in draws])
    error = 5 * float(costs.std()) / 4000**0.5
    assert abs(float(costs.mean()) - float(_COST(probabilities))) < error


# --- gates


def gated(network: Network, budget: float = 0.3) -> Gated:
    module = network.module()
    groups = find_groups(module, network.input_shape)
    cost = expected_macs(module, groups, network.input_shape)
    cfg = StochasticGates(method="stochastic_gates", budget=Budget(macs=budget))
    return Gated(module, groups, cost, cfg, budget=budget, steps=100)


def test_a_gate_multiplies_what_every_producer_writes() -> None:
    network = Network.fresh("resnet20", {"width": 8}, seed=0)
    module = gated(network).eval()
    with torch.no_grad():
        module.means.uniform_(-0.5, 1.5, generator=torch.Generator().manual_seed(0))
    gates = module.means.detach().clamp(0, 1)
    first = 0
    plain = network.module()
    for group in find_groups(plain, network.input_shape):
        for layer in group.last_producers:
            here = gates[first : first + group.width].reshape(1, -1, 1, 1)

            def multiply(
                _l: nn.Module, _x: object, y: torch.Tensor, z: torch.Tensor = here
            ) -> object:
                return y * z

            plain.get_submodule(layer).register_forward_hook(multiply)
        first += group.width
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(module(x), plain(x), atol=1e-5, rtol=1e-5)


def test_noise_is_there_in_training_only() -> None:
    module = gated(Network.fresh("lenet5", {}, seed=0))
    x = torch.randn(2, 1, 28, 28)
    assert not torch.equal(module.train()(x), module(x))
    assert torch.equal(module.eval()(x), module(x))
    assert int(module.step) == 2


def test_schedules() -> None:
    module = gated(Network.fresh("lenet5", {}, seed=0), budget=0.3)
    assert module.expected_share().item() == pytest.approx(module.target_share())
    assert module.sigma() == 0.5
    module.step.fill_(70)
    assert module.target_share() == pytest.approx(0.3)
    assert module.sigma() == pytest.approx(0.5)
    module.step.fill_(100)
    assert module.sigma() == pytest.approx(0.05)
    assert module.target_share() == pytest.approx(0.3)


def test_steering_pushes_down_only_what_is_above_the_target() -> None:
    module = gated(Network.fresh("lenet5", {}, seed=0))
    module.step.fill_(70)
    above = module.cost_penalty()
    (slope,) = torch.autograd.grad(above, module.means)
    assert above > 0
    assert (slope > 0).all()
    assert module.price > 0
    module.price.zero_()
    with torch.no_grad():
        module.means.fill_(-2)
    below = module.cost_penalty()
    (slope,) = torch.autograd.grad(below, module.means)
    assert below == 0
    assert not slope.any()
    assert module.price == 0


# --- the whole method


@pytest.fixture(scope="module")
def dense() -> Network:
    network = Network.fresh("digits_cnn", {"width": 8}, seed=0)
    module = network.module()
    cfg = TrainConfig(epochs=16, batch_size=50, lr=0.1)
    train(module, DATA.train, cfg, preprocessing=DATA.preprocessing, seed=0)
    return network.with_weights(module)


CFG = StochasticGates(
    method="stochastic_gates",
    budget=Budget(macs=0.35),
    round_to=4,
    train=TrainConfig(epochs=20, batch_size=50, lr=0.02, warmup=0.0),
)


def find(network: Network, cfg: StochasticGates = CFG, **kwargs: object) -> Ticket:
    ticket: Ticket = TICKETS[cfg.method](network, DATA, cfg, seed=3, **kwargs)  # type: ignore[arg-type]
    return ticket


@pytest.mark.parametrize("budget", [Budget(macs=0.35), Budget(parameters=0.5)])
def test_a_ticket_keeps_its_budget_and_the_accuracy(dense: Network, budget: Budget) -> None:
    ticket = find(dense, CFG.model_copy(update={"budget": budget}))
    narrow = shrink(ticket.start, ticket.mask)
    [(kind, share)] = budget.model_dump(exclude_none=True).items()
    before, after = (getattr(count(n.module(), n.input_shape), kind) for n in (dense, narrow))
    assert 0.75 * share < after / before <= share
    assert ticket.log["reached_share"] == pytest.approx(after / before)
    assert abs(ticket.log["expected_share"] - share) < 0.15

    def accuracy(network: Network) -> float:
        module = network.module()
        return evaluate(module, DATA.validation, preprocessing=DATA.preprocessing).top1

    assert accuracy(narrow) == pytest.approx(ticket.log["validation_top1_with_mask"], abs=0.004)
    # A random choice of the same widths knows nothing; the ticket does, before fine-tuning.
    assert accuracy(narrow) > 0.6
    assert accuracy(dense) > 0.9


def test_an_interrupted_search_finds_the_same_ticket(dense: Network, tmp_path: Path) -> None:
    cfg = CFG.model_copy(update={"train": CFG.train.model_copy(update={"epochs": 3})})
    undisturbed = find(dense, cfg)
    with pytest.raises(KeyboardInterrupt):
        find(dense, cfg, resume=tmp_path / "state.pt", progress=StopAfter(30))
    resumed = find(dense, cfg, resume=tmp_path / "state.pt")
    assert resumed.start.digest == undisturbed.start.digest
    assert resumed.log == undisturbed.log
    assert resumed.mask.is_subset_of(undisturbed.mask)
    assert undisturbed.mask.is_subset_of(resumed.mask)


def test_a_ticket_of_a_slim_network_is_smaller_still(dense: Network) -> None:
    module = dense.module()
    groups = find_groups(module, dense.input_shape)
    half = [torch.arange(group.width) % 2 == 0 for group in groups]
    narrow = shrink(dense, channel_mask(module, groups, half))
    cfg = CFG.model_copy(update={"train": CFG.train.model_copy(update={"epochs": 1})})
    ticket = find(narrow, cfg.model_copy(update={"budget": Budget(macs=0.6)}))
    smaller = shrink(ticket.start, ticket.mask)
    for name, axes in narrow.removed.items():
        for axis, indices in axes.items():
            assert set(indices) <= set(smaller.removed[name][axis])


def test_the_budget_is_checked_before_the_training(dense: Network) -> None:
    cfg = CFG.model_copy(update={"budget": Budget(macs=0.001)})
    with pytest.raises(InputError, match="the smallest ticket costs"):
        find(dense, cfg, progress=StopAfter(1))
