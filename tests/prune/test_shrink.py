"""Physical removal of channels changes nothing but the cost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgeticket import models
from edgeticket.models.network import Network
from edgeticket.models.torchvision_cure import import_torchvision
from edgeticket.pipeline.prune.channels import find_groups
from edgeticket.pipeline.prune.cost import count
from edgeticket.pipeline.prune.mask import Mask, channel_mask
from edgeticket.pipeline.prune.shrink import shrink
from edgeticket.pipeline.tickets.expected_cost import EXPECTED


@pytest.fixture(scope="module", autouse=True)
def _mobilenet_is_known() -> None:
    """An architecture that is not ours, with depthwise convolutions, under our rules."""
    models.ARCHITECTURES["mobilenet_v2"] = models.Architecture(
        _mobilenet_v2, ("in_channels", 32, 32)
    )


def _mobilenet_v2(*, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    torchvision = import_torchvision()
    module: nn.Module = torchvision.models.mobilenet_v2(num_classes=num_classes, width_mult=0.25)
    assert in_channels == 3
    return module


def random_network(arch: str, args: models.Args, seed: int) -> Network:
    """Random weights, and batch norms that do something."""
    network = Network.fresh(arch, args, seed=seed)
    weights = dict(network.weights)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in weights.items():
        if "running_var" in name:
            weights[name] = 0.5 + torch.rand(tensor.shape, generator=generator)
        elif tensor.ndim == 1 and tensor.is_floating_point():
            weights[name] = torch.randn(tensor.shape, generator=generator)
    return Network(arch, network.args, weights)


def random_mask(network: Network, share: float, seed: int) -> tuple[Mask, torch.Tensor]:
    """A mask of random channels, and which channels it keeps, all groups in one."""
    module = network.module()
    groups = find_groups(module, network.input_shape)
    generator = torch.Generator().manual_seed(seed)
    kept = [torch.rand(group.width, generator=generator) < share for group in groups]
    for k in kept:
        k[0] = True
    return channel_mask(module, groups, kept), torch.cat(kept)


def outputs(network: Network) -> torch.Tensor:
    x = torch.randn(3, *network.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y: torch.Tensor = network.module()(x)
    return y


def assert_same(narrow: Network, masked: Network) -> None:
    expected = outputs(masked)
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(outputs(narrow) / scale, expected / scale, atol=1e-5, rtol=0)


CASES = [
    ("digits_cnn", {"width": 8}),
    ("resnet20", {"width": 8}),
    ("lenet5", {}),  # channels that are flattened before they are read
    ("mobilenet_v2", {}),
    ("separable_ctc", {"mels": 6, "frames": 40, "width": 8, "blocks": 2, "kernel": 5}),
    ("cifar_vit", {"width": 8, "depth": 2, "heads": 4, "patch": 8}),  # MLPs and heads
    ("cifar_conv_vit", {"width": 8, "depth": 1, "heads": 2, "patch": 4}),
]


@pytest.mark.parametrize(("arch", "args"), CASES)
@settings(max_examples=4, deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_masked_and_slim_are_the_same_function(
    arch: str, args: models.Args, share: float, seed: int
) -> None:
    network = random_network(arch, args, seed)
    mask, kept = random_mask(network, share, seed)
    narrow = shrink(network, mask)
    assert_same(narrow, mask.apply(network))
    # The cost that gates are steered by is, for a decision, the cost of what comes out.
    module = network.module()
    groups = find_groups(module, network.input_shape)
    parameters, macs = count(narrow.module(), narrow.input_shape)
    for kind, value in (("parameters", parameters), ("macs", macs)):
        expected = EXPECTED[kind](module, groups, network.input_shape)(kept.double())
        assert float(expected) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(("arch", "args"), CASES)
def test_slim_networks_can_be_slimmed_again(arch: str, args: models.Args) -> None:
    dense = random_network(arch, args, 0)
    first = shrink(dense, random_mask(dense, 0.7, 1)[0])
    mask = random_mask(first, 0.7, 2)[0]
    second = shrink(first, mask)
    assert_same(second, mask.apply(first))
    # What is removed is named in the indices of the dense network.
    for name, axes in second.removed.items():
        kept = dense.weights[name]
        for axis, indices in axes.items():
            stays = [i for i in range(kept.shape[axis]) if i not in indices]
            kept = kept.index_select(axis, torch.tensor(stays))
        assert kept.shape == second.weights[name].shape
    layer = next(name for name in second.removed if dense.weights[name].ndim > 1)
    gone = second.removed[layer].get(0, ())
    rows = [i for i in range(len(dense.weights[layer])) if i not in gone]
    for row, original in enumerate(rows):
        assert torch.isin(second.weights[layer][row], dense.weights[layer][original]).all()


def test_an_empty_mask_removes_nothing() -> None:
    network = random_network("resnet20", {"width": 8}, 0)
    assert shrink(network, Mask({})).digest == network.digest


def test_a_channel_that_one_producer_still_writes_stays() -> None:
    network = random_network("resnet20", {"width": 8}, 0)
    module = network.module()
    groups = find_groups(module, network.input_shape)
    stream = next(g for g in groups if "layer1.0.conv2" in g.producers)
    kept = [torch.arange(g.width) > 0 if g is stream else torch.ones(g.width) > 0 for g in groups]
    mask = channel_mask(module, groups, kept)
    assert shrink(network, mask).weights["conv1.weight"].shape[0] == 7
    partly = Mask({n: t for n, t in mask.tensors.items() if n != "layer1.0.bn2.bias"})
    assert shrink(network, partly).weights["conv1.weight"].shape[0] == 8
    assert_same(shrink(network, partly), partly.apply(network))


def test_single_weights_become_zeros() -> None:
    network = random_network("lenet5", {}, 0)
    kept = torch.rand(16, 6, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    narrow = shrink(network, Mask({"conv2.weight": kept, "conv2.bias": torch.zeros(16) > 0}))
    assert narrow.removed == {}
    assert torch.equal(narrow.weights["conv2.weight"] != 0, kept)


def test_a_wholly_masked_group_keeps_one_channel() -> None:
    network = random_network("lenet5", {}, 0)
    mask = Mask({name: network.weights[name] < -9e9 for name in ("conv1.weight", "conv1.bias")})
    narrow = shrink(network, mask)
    assert narrow.weights["conv1.weight"].shape[0] == 1
    assert_same(narrow, mask.apply(network))


def test_classes_are_never_removed() -> None:
    network = random_network("lenet5", {}, 0)
    mask = Mask({name: network.weights[name] < -9e9 for name in ("fc3.weight", "fc3.bias")})
    assert shrink(network, mask).removed == {}


def test_channels_of_the_input_stay() -> None:
    args = {"mels": 6, "frames": 40, "width": 8, "blocks": 1, "kernel": 5}
    network = Network.fresh("separable_ctc", args, seed=0)
    groups = find_groups(network.module(), network.input_shape)
    assert not any("stem.0" in group.producers for group in groups)  # depthwise over the mels
    assert {group.width for group in groups} == {8, 16}


def test_heads_and_hidden_units_of_a_vision_transformer_are_its_groups() -> None:
    network = Network.fresh("digits_vit", {"width": 16, "heads": 4, "depth": 2}, seed=0)
    groups = find_groups(network.module(), network.input_shape)
    assert {group.name: (group.width, group.heads) for group in groups} == {
        "blocks.0.mlp.0": (32, False),
        "blocks.1.mlp.0": (32, False),
        "blocks.0.attention": (4, True),
        "blocks.1.attention": (4, True),
    }


def test_of_attention_from_elsewhere_the_hidden_units_alone_can_go() -> None:
    torchvision = import_torchvision()
    module = torchvision.models.VisionTransformer(
        image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12
    )
    groups = find_groups(module.eval(), (3, 16, 16))
    assert [(group.name, group.width) for group in groups] == [
        ("encoder.layers.encoder_layer_0.mlp.0", 12)
    ]


class FusedAttention(nn.Module):
    """Query, key and value by one layer, whose channels are cut into a fixed number of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(2).transpose(1, 2)  # [N, tokens, 8]
        qkv = self.qkv(self.norm(x)).reshape(len(x), -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        logits: torch.Tensor = self.head((x + self.mlp(x)).mean(1))
        return logits


def test_fused_heads_stay() -> None:
    groups = find_groups(FusedAttention().eval(), (8, 4, 4))
    assert [group.name for group in groups] == ["mlp.0"]
