"""A narrowed graph has the very steps of the network that pruning makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgeticket.device_runner.errors import InputError
from edgeticket.models.imported import look_in
from edgeticket.models.network import Network
from edgeticket.pipeline.convert.prepare import prepare
from edgeticket.pipeline.graph.graph import Graph
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.mask import channel_mask
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.search.candidates import Candidates, carried_over
from edgeticket.pipeline.search.narrowing import ChannelsError, Narrowing
from edgeticket.pipeline.search.steps import steps_of
from edgeticket.pipeline.search.structure import (
    Structure,
    drawn_structure,
    read_structure,
    uniform,
)

# Halves of channels, depthwise and grouped layers, branches that are joined, a flattened map.
BRANCHES = """
import torch
from torch import nn

def layer(a, b, group=1):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, groups=group), nn.BatchNorm2d(b), nn.ReLU())

class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = layer(3, 16)
        self.deep = layer(16, 16, group=16)
        self.left, self.right = layer(16, 8), layer(8, 12)
        self.groups = layer(20, 20, group=2)
        self.head = nn.Linear(20 * 16, 4)

    def forward(self, x):
        x = self.deep(self.stem(x))
        half, _ = torch.chunk(x, 2, 1)
        x = self.groups(torch.cat([self.left(x), self.right(half)], 1))
        return self.head(torch.flatten(nn.functional.max_pool2d(x, 2), 1))

def make():
    return Branches()
"""


@pytest.fixture(scope="module", params=["resnet20", "import:branches_of_tests:make"])
def candidates(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Candidates:
    if request.param == "resnet20":
        return Candidates.of(Network.fresh("resnet20", {}, seed=0))
    folder = tmp_path_factory.mktemp("own")
    (folder / "branches_of_tests.py").write_text(BRANCHES)
    look_in((folder,))
    return Candidates.of(Network.fresh(request.param, {}, seed=0, takes=(3, 8, 8)))


def test_graphs_lose_channels_as_networks_do(candidates: Candidates) -> None:
    structure = drawn_structure(candidates.widths, seed=3, quantum=4)
    network = candidates.network
    groups = find_groups(network.module(), network.input_shape)
    kept = [torch.arange(g.width) < structure.keep.get(g.name, g.width) for g in groups]
    pruned = Candidates.of(shrink(network, channel_mask(network.module(), groups, kept)))
    assert set(candidates.widths) <= {group.name for group in groups}
    for precision in ("fp32", "int8"):
        for runtime in ("ort", "tflite"):
            narrowed = prepare(candidates.narrowing(precision).narrowed(structure))
            ours, theirs = (
                [step.key for step in steps_of(graph, runtime=runtime)]
                for graph in (narrowed, pruned.graph(precision, Structure()))
            )
            assert ours == theirs


def test_where_narrowing_knows_no_way_the_network_is_pruned(
    candidates: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    structure = uniform(candidates.widths, 0.5)
    expected = [step.key for step in steps_of(candidates.graph("fp32", structure), runtime="ort")]

    def refuse(self: Narrowing, structure: Structure) -> Graph:
        if structure.keep:
            raise ChannelsError("some operator has a number of channels in its attributes")
        return self.graph

    monkeypatch.setattr(Narrowing, "narrowed", refuse)
    found = [step.key for step in steps_of(candidates.graph("fp32", structure), runtime="ort")]
    assert found == expected


def test_both_precisions_have_the_groups_that_pruning_has(candidates: Candidates) -> None:
    widths = [candidates.narrowing(precision).widths for precision in ("fp32", "int8")]
    assert widths[0] == widths[1]
    network = candidates.network
    groups = find_groups(network.module(), network.input_shape)
    assert widths[0] == {group.name: group.width for group in groups}


def test_widths_come_in_steps_of_the_quantum() -> None:
    assert uniform({"a": 64, "b": 12, "c": 4}, 0.4, quantum=8).keep == {"a": 24, "b": 8, "c": 4}
    assert uniform({"a": 64}, 1).keep == {"a": 64}
    with pytest.raises(InputError, match="above 0"):
        uniform({"a": 64}, 0)


def test_a_structure_names_groups_that_there_are(candidates: Candidates) -> None:
    name, width = next(iter(candidates.widths.items()))
    with pytest.raises(InputError, match="no group of channels"):
        candidates.graph("fp32", Structure({"elsewhere": 3}))
    with pytest.raises(InputError, match=f"has {width} channels"):
        candidates.graph("fp32", Structure({name: width + 1}))


def test_blocks_that_are_bypassed_are_gone() -> None:
    whole = Candidates.of(Network.fresh("resnet20", {}, seed=0))
    cut = whole.without(frozenset({"layer2.1"}))
    origins = {step.origin for step in steps_of(cut.graph("int8", Structure()), runtime="ort")}
    assert not any(origin.startswith("layer2.1") for origin in origins)
    # The group of that block is gone, too; the others keep what they are told to.
    kept = carried_over(uniform(whole.widths, 0.5), whole, cut)
    assert set(whole.widths) - set(kept.keep) == {"layer2.1.conv1"}
    with pytest.raises(InputError, match="no block"):
        whole.without(frozenset({"layer9"}))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"keep": {"a": "many"}}', '{"keep": {"a": 1}, "more": 2}', "[" * 9000]
)
def test_what_is_no_structure_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text(text)
    with pytest.raises(InputError, match="is no structure"):
        read_structure(tmp_path / "cut.json")


def test_a_structure_is_read_from_what_predict_wrote(tmp_path: Path) -> None:
    document = {"predictions": [], "structure": {"keep": {"a": 8}, "bypass": ["b"]}}
    (tmp_path / "cut.json").write_text(json.dumps(document))
    assert read_structure(tmp_path / "cut.json") == Structure({"a": 8}, frozenset({"b"}))
