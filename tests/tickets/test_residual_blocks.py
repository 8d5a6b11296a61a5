"""Tickets of whole residual blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.data import Dataset, Split
from edgeticket.pipeline.network.file import load_network, save_network
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.recipe import BenchConfig, BlockBudget, ResidualBlocks
from edgeticket.pipeline.tickets import TICKETS
from edgeticket.pipeline.tickets.ticket import Ticket


@pytest.fixture(scope="module")
def resnet() -> Network:
    """A ResNet-20 whose blocks matter more the later they come, and layer2.1 not at all."""
    network = Network.fresh("resnet20", {"width": 4}, seed=0)
    weights = dict(network.weights)
    for i, block in enumerate(models.removable_blocks(network.module())):
        name = f"{block}.bn2.weight"
        weights[name] = torch.full_like(weights[name], 0.2 * (i + 1))
    weights["layer2.1.bn2.weight"] = torch.zeros_like(weights["layer2.1.bn2.weight"])
    return Network(network.arch, network.args, weights)


@pytest.fixture(scope="module")
def noise() -> Dataset:
    """Images for `resnet`: what they show does not matter here."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 32, 32, 3), generator=generator, dtype=torch.uint8)
    split = Split(images.numpy(), torch.zeros(60, dtype=torch.int64).numpy())
    steps = ({"op": "normalize", "mean": [127.5] * 3, "std": [64.0] * 3},)
    return Dataset("noise", split, split, split, split, tuple("0123456789"), steps)


def find(network: Network, data: Dataset, **budget: float) -> Ticket:
    cfg = ResidualBlocks(method="residual_blocks", budget=BlockBudget(**budget), examples=40)
    return TICKETS["residual_blocks"](network, data, cfg, seed=0)


def test_what_a_runtime_can_do_without_is_listed(resnet: Network) -> None:
    assert models.removable_blocks(resnet.module()) == (
        *(f"layer1.{i}" for i in (0, 1, 2)),
        *(f"layer{stage}.{i}" for stage in (2, 3) for i in (1, 2)),
    )


def test_a_block_that_adds_nothing_goes_without_a_trace(resnet: Network) -> None:
    without = resnet.without(["layer2.1"])
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(without.module()(images), resnet.module()(images))
    assert isinstance(without.module().get_submodule("layer2.1"), nn.Identity)
    assert not [name for name in without.weights if name.startswith("layer2.1.")]
    assert without.digest != resnet.digest


@pytest.mark.parametrize(
    "budget", [{"macs": 0.7}, {"parameters": 0.6}, {"macs": 0.8, "parameters": 0.5}]
)
def test_every_budget_is_kept_and_the_least_missed_goes_first(
    resnet: Network, noise: Dataset, budget: dict[str, float]
) -> None:
    ticket = find(resnet, noise, **budget)
    assert not ticket.mask.tensors
    whole = count(resnet.module(), resnet.input_shape)
    left = count(ticket.start.module(), resnet.input_shape)
    for kind, share in budget.items():
        reached = getattr(left, kind) / getattr(whole, kind)
        assert reached <= share
        assert ticket.log["reached_share"][kind] == pytest.approx(reached)
    removed = [entry["block"] for entry in ticket.log["removed"]]
    assert removed[0] == "layer2.1"
    assert ticket.start.bypassed == set(removed)
    assert ticket.log["blocks"] == [7 - len(removed), 7]
    assert find(resnet, noise, **budget).start.digest == ticket.start.digest


def test_batch_norm_fits_the_network_that_is_left(resnet: Network, noise: Dataset) -> None:
    before = {n: t for n, t in resnet.weights.items() if n.endswith("running_var")}
    after = find(resnet, noise, macs=0.7).start.weights
    kept = [name for name in before if name in after]
    assert kept
    assert all(not torch.equal(before[name], after[name]) for name in kept)


def test_a_network_without_blocks_survives_the_disk(resnet: Network, tmp_path: Path) -> None:
    without = resnet.without(["layer1.0", "layer3.2"])
    save_network(without, tmp_path)
    loaded = load_network(tmp_path)
    assert loaded.digest == without.digest
    file = tmp_path / "network.json"
    for wrong in ("layer2.0", "layer1", "nothing", ""):
        file.write_text(file.read_text().replace("layer1.0", wrong))
        with pytest.raises(InputError, match="no block that can be removed"):
            load_network(tmp_path)
        file.write_text(file.read_text().replace(f'"{wrong}"', '"layer1.0"'))


def test_too_tight_a_budget_is_refused(resnet: Network, noise: Dataset) -> None:
    with pytest.raises(InputError, match=r"without any of its removable blocks .* macs 0\.\d+"):
        find(resnet, noise, macs=0.01)
    plain = Network.fresh("vgg_small", {"width": 4}, seed=0)
    with pytest.raises(InputError, match="vgg_small has no residual blocks"):
        find(plain, noise, macs=0.5)


@pytest.mark.parametrize("runtime", ["tflite", "ort"])
def test_latency_is_measured_and_kept(resnet: Network, noise: Dataset, runtime: str) -> None:
    cfg = ResidualBlocks(
        method="residual_blocks",
        budget=BlockBudget(latency=0.8),
        examples=20,
        runtime=runtime,
        bench=BenchConfig(min_seconds=0.0, min_queries=50),
    )
    log = TICKETS["residual_blocks"](resnet, noise, cfg, seed=0).log
    measured = log["latency_ms"]
    assert measured["runtime"] == runtime
    assert set(measured["blocks"]) == set(models.removable_blocks(resnet.module()))
    # Blocks of one shape cost the same.
    assert measured["blocks"]["layer1.0"] == measured["blocks"]["layer1.2"]
    gone = sum(measured["blocks"][entry["block"]] for entry in log["removed"])
    assert log["reached_share"]["latency"] == pytest.approx(1 - gone / measured["whole"])
    assert log["reached_share"]["latency"] <= 0.8
