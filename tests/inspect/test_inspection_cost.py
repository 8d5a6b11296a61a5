"""Inspecting costs what it says: a network is captured once, and few copies of it are made."""

import subprocess
import sys
import textwrap
from collections import OrderedDict

import pytest
import torch
from torch import nn

from edgeticket.models.copies import shared_copy, vacant_copy
from edgeticket.pipeline.graph import capture, remembered
from edgeticket.pipeline.graph.capture import capture as captured
from edgeticket.pipeline.inspect.network import inspect_network
from edgeticket.pipeline.network.file import new_network
from edgeticket.pipeline.prune import channels
from edgeticket.pipeline.quantize import fold_bn

MOST_COPIES = 9  # of all weights, that are there at once; it was 21


def test_a_network_is_exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (capture, "_programs"),
        (remembered, "_graphs"),
        (channels, "_remembered"),
    ):
        monkeypatch.setattr(module, name, OrderedDict())
    exported = []
    export = capture._export

    def counted(module: nn.Module, shapes: capture.Shapes) -> object:
        exported.append(module)
        return export(module, shapes)

    monkeypatch.setattr(capture, "_export", counted)
    inspection = inspect_network(new_network("resnet20", {}, seed=0))
    assert inspection.usable
    assert len(exported) == 1


def test_a_large_network_is_held_a_few_times() -> None:
    program = f"""
        import resource
        from torch import nn
        from edgeticket.models.network import Network
        from edgeticket.models.own import SOURCES
        from edgeticket.pipeline.inspect.network import inspect_network

        def make(width):
            return nn.Sequential(
                nn.Flatten(), nn.Linear(256, width), nn.ReLU(), nn.Linear(width, width),
                nn.ReLU(), nn.Linear(width, 10),
            )

        SOURCES["import"] = lambda name: make

        def peak(width):
            args = {{"width": width}}
            network = Network.fresh("import:net:make", args, seed=0, takes=(256, 1, 1))
            assert inspect_network(network).usable
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

        import edgeticket.models.own as own
        own.source_digest = lambda name: ""
        small, large = peak(64), peak(5000)
        copies = (large - small) / (4 * 5000 * (5000 + 256 + 10))
        assert copies < {MOST_COPIES}, copies
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_captured_graph_stays_as_it_is_when_the_network_is_trained() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    before = module[0].weight.detach().clone()
    graph = captured(module, (3, 8, 8))
    with torch.no_grad():
        module[0].weight.add_(1)
    assert torch.equal(torch.from_numpy(graph.constants["0.weight"].data), before)
    again = captured(module, (3, 8, 8))
    assert torch.equal(torch.from_numpy(again.constants["0.weight"].data), before + 1)


class _Scaled(nn.Module):
    """Has a tensor that is no parameter, a buffer that is not in its state, and a shared weight."""

    def __init__(self, factor: float, *, tied: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        if tied:
            self.second.weight = self.first.weight
        self.plain = torch.full((4,), factor)
        self.register_buffer("unsaved", torch.full((4,), factor + 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(self.first(x) * self.plain) + self.unsaved
        return result


@pytest.mark.parametrize("tied", [False, True])
def test_networks_of_one_form_have_their_own_numbers(tied: bool) -> None:
    x = torch.randn(2, 4)
    for seed in (1, 2):
        torch.manual_seed(seed)
        module = _Scaled(float(seed), tied=tied).eval()
        torch.testing.assert_close(fold_bn(module, (4,))(x), module(x))


def test_copies_share_what_they_say() -> None:
    module = _Scaled(2.0, tied=True)
    shared, vacant = shared_copy(module), vacant_copy(module)
    assert shared.first.weight is module.first.weight
    assert shared.unsaved is module.unsaved
    assert vacant.first.weight is vacant.second.weight
    assert not vacant.first.weight.any()
    assert torch.equal(vacant.unsaved, module.unsaved)
    assert vacant.unsaved is not module.unsaved
    vacant.train()
    assert module.training
    with torch.no_grad():
        vacant.first.weight.fill_(1)
    assert not torch.equal(module.first.weight, vacant.first.weight)


def test_a_shared_module_has_the_tensors_of_its_network() -> None:
    network = new_network("lenet5", {}, seed=0)
    name, weights = next(iter(network.weights.items()))
    assert network.module(shared=True).state_dict()[name].data_ptr() == weights.data_ptr()
    assert network.module().state_dict()[name].data_ptr() != weights.data_ptr()
