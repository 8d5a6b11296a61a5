"""Architectures and networks: sizes from the literature, exact shortcuts, narrow shapes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from edgeticket import models
from edgeticket.models.cifar_resnet import option_a_shortcut
from edgeticket.models.network import Network, skeleton
from edgeticket.pipeline.graph.batches import leaves_of
from edgeticket.pipeline.prune.cost import count


@pytest.mark.parametrize(
    ("arch", "parameters", "macs"),
    [
        # He et al. 2016 give 0.27 M and 0.85 M parameters; the shortcuts, which they do not
        # count, add 2,560 parameters and 0.26 M multiply-accumulates.
        ("resnet20", 269_722 + 2_560, 40_551_040 + 262_144),
        ("resnet56", 853_018 + 2_560, 125_485_696 + 262_144),
        ("vgg_small", 4_660_106, 607_600_640),
        # Frankle and Carbin 2019, figure 2: 4.3 and 2.4 million weights.
        ("conv2", 4_301_642, 43_780_608),
        ("conv4", 2_425_930, 98_306_560),
        ("conv6", 2_262_602, 153_881_088),
        # airbench93 has 569,016 and no scales in batch norm (640), but a bias where this has
        # batch norm (24 against 48).
        ("fast_cifar", 569_016 + 640 + 24, 54_223_904),
        ("lenet300", 266_610, 266_200),  # 784·300 + 300·100 + 100·10
        ("lenet5", 61_706, 416_520),
        ("digits_cnn", 389_610, 21_733_760),
        # Per block: 8 · 128² weights for each of 64 tokens, and 2 · 64² · 128 for attention.
        ("cifar_vit", 810_890, 64 * 128 * 48 + 6 * (64 * 8 * 128**2 + 2 * 64**2 * 128) + 1280),
        ("digits_vit", 804_874, 49 * 128 * 16 + 6 * (49 * 8 * 128**2 + 2 * 49**2 * 128) + 1280),
        # 64·(9² + 4·(9 + 64)) weights, 12 classes, and 130 columns more for normalisation.
        ("ds_cnn", 25_804, 6_207_488),
        ("bc_resnet1", 7_944, 1_253_556),
        ("separable_classifier", 223_004, 16_175_104),
        ("separable_ctc", 338_013, 42_639_360),
        ("cell_detector", 82_970, 18_261_504),
        ("unet", 111_251, 20_994_048),
        ("anchored_upscaler", 16_732, 17_031_168),
        ("conv_autoencoder", 33_289, 693_056),
        ("conv_gru", 7_108, 93_264),
    ],
)
def test_cost_of_architectures(arch: str, parameters: int, macs: int) -> None:
    network = Network.fresh(arch, {}, seed=0)
    assert count(network.module(), network.input_shape) == (parameters, macs)


@pytest.mark.parametrize("arch", [a for a, one in models.ARCHITECTURES.items() if one.gives])
def test_arguments_reach_the_network(arch: str) -> None:
    architecture = models.ARCHITECTURES[arch]
    args = {architecture.gives: 7, str(architecture.takes[0]): 2}
    network = Network.fresh(arch, args, seed=0)
    assert network.input_shape[0] == 2
    assert models.num_classes(arch, args) == 7
    first, *_ = leaves_of(network.module()(torch.zeros(3, *network.input_shape)))
    assert first.shape[:2] == (3, 7)


@pytest.mark.parametrize(
    ("arch", "args", "gives"),
    [
        ("cell_detector", {"side": 40}, [(3, 10, 5, 5), (3, 4, 5, 5)]),
        ("unet", {"side": 24, "num_classes": 4}, [(3, 4, 24, 24)]),
        ("anchored_upscaler", {"side": 10, "factor": 3}, [(3, 1, 30, 30)]),
        ("conv_autoencoder", {"code": 2}, [(3, 1, 28, 28)]),
        ("conv_gru", {"steps": 9, "num_classes": 5}, [(3, 5)]),
    ],
)
def test_networks_give_what_their_tasks_read(
    arch: str, args: models.Args, gives: list[tuple[int, ...]]
) -> None:
    network = Network.fresh(arch, args, seed=0)
    outputs = leaves_of(network.module()(torch.zeros(3, *network.input_shape)))
    assert [tuple(output.shape) for output in outputs] == gives


def test_an_upscaler_that_adds_nothing_repeats_pixels() -> None:
    network = Network.fresh("anchored_upscaler", {"side": 5, "factor": 2}, seed=0)
    module = network.module()
    for name in ("weight", "bias"):
        torch.nn.init.zeros_(module.get_parameter(f"details.{name}"))
    x = torch.randn(2, 1, 5, 5)
    assert torch.equal(module(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("arch", ["anchored_upscaler", "conv_autoencoder"])
def test_networks_without_classes_say_so(arch: str) -> None:
    with pytest.raises(ValueError, match=f"{arch} gives pictures, no classes"):
        models.num_classes(arch, {})


def test_speech_networks_take_any_number_of_frames() -> None:
    network = Network.fresh("separable_ctc", {"frames": 40, "blocks": 1, "width": 8}, seed=0)
    assert network.input_shape == (64, 40)
    module = network.module()
    for frames in (40, 41):
        assert module(torch.zeros(2, 64, frames)).shape == (2, 29, (frames + 1) // 2)


@pytest.mark.parametrize(
    ("arch", "args", "message"),
    [
        ("resnet21", {}, r"unknown architecture 'resnet21' \(known: resnet20, "),
        ("lenet5", {"width": 3}, r"no argument 'width' \(known: num_classes, in_channels\)"),
        ("resnet20", {"width": 0}, "width is a whole number from 1 up, not 0"),
        ("resnet20", {"width": True}, "not True"),
        ("resnet20", {"num_classes": 2.5}, "not 2.5"),
        ("cifar_vit", {"heads": 5}, r"heads \(5\) must divide width \(128\)"),
        ("digits_vit", {"patch": 5}, r"patch \(5\) the image \(28×28\)"),
        ("unet", {"side": 20}, "unet: side 20 cannot be halved 3 times"),
        ("separable_ctc", {"kernel": 10}, r"kernels must be odd .* not \[10, 12"),
    ],
)
def test_bad_architectures_are_refused(arch: str, args: models.Args, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.build(arch, args)


def test_shortcut_is_exactly_option_a() -> None:
    x = torch.randn(2, 16, 32, 32)
    expected = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
    shortcut = option_a_shortcut(16, 32, 2)
    assert torch.equal(shortcut(x), expected)
    assert not shortcut.weight.requires_grad


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    untouched = torch.rand(1)
    torch.manual_seed(1)
    first = Network.fresh("lenet5", {}, seed=3)
    assert torch.rand(1) == untouched  # the global generator is left alone
    assert first.digest == Network.fresh("lenet5", {}, seed=3).digest
    assert first.digest != Network.fresh("lenet5", {}, seed=4).digest


def test_modules_share_no_memory_with_the_network() -> None:
    network = Network.fresh("lenet5", {}, seed=0)
    digest = network.digest
    module = network.module()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.zero_()
    assert network.digest == digest
    changed = network.with_weights(module)
    assert changed.digest != digest
    assert not changed.module().get_parameter("fc1.weight").any()


def test_narrow_shapes_follow_from_what_was_removed() -> None:
    removed = {
        "conv1.weight": {0: (0, 5)},
        "conv1.bias": {0: (0, 5)},
        "conv2.weight": {1: (0, 5)},
    }
    narrow = skeleton("lenet5", {}, removed)
    conv1, conv2 = narrow.get_submodule("conv1"), narrow.get_submodule("conv2")
    assert (conv1.out_channels, conv2.in_channels, conv2.out_channels) == (4, 4, 16)
    assert narrow.get_parameter("conv2.weight").shape == (16, 4, 5, 5)


@pytest.mark.parametrize(
    "removed",
    [
        {"conv9.weight": {0: (0,)}},
        {"conv1.weight": {0: (6,)}},
        {"conv1.weight": {0: (1, 1)}},
        {"conv1.weight": {0: tuple(range(6))}},
    ],
)
def test_removing_what_is_not_there_is_refused(removed: dict[str, dict[int, tuple[int]]]) -> None:
    with pytest.raises(ValueError, match="cannot remove from conv"):
        skeleton("lenet5", {}, removed)


def test_weights_that_do_not_fit_are_refused() -> None:
    network = Network.fresh("lenet5", {}, seed=0)
    with pytest.raises(ValueError, match="weights do not fit lenet300"):
        Network("lenet300", {}, network.weights).module()
