"""Networks that people use, as their authors define them: torch -> both runtimes, fp32 and int8."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from test_convert import Built, assert_float_files_are_right, build
from torch import Tensor, nn

from edgeticket import models
from edgeticket.models.torchvision_cure import import_torchvision
from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.operators.page import operators_page
from edgeticket.pipeline.recipe import DataConfig

SIZE = 64
SMALL = 32  # of pictures that are trained with
NETWORKS = (
    "squeezenet1_1",
    "resnet18",
    "shufflenet_v2_x0_5",
    "mobilenet_v3_small",
    "efficientnet_lite0",
)


@functools.cache
def built(name: str) -> Built:
    torch.manual_seed(0)
    if name in models.ARCHITECTURES:
        module = models.build(name, {})
    else:
        module = getattr(import_torchvision().models, name)(weights=None)
    keep_variance(module.eval(), images(16))
    return build(module, (3, SIZE, SIZE), images=images(24), fit=False)


def images(count: int) -> Tensor:
    """Smooth pictures of different colours and contrasts, [N, 3, SIZE, SIZE]."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.randn(count, 3, 5, 5, generator=generator)
    colours = torch.randn(count, 3, 1, 1, generator=generator)
    return F.interpolate(coarse, (SIZE, SIZE), mode="bilinear") + colours


def keep_variance(module: nn.Module, x: Tensor) -> None:
    """Let each batch norm divide by one number, so that signals neither die nor explode.

    Normalised channel by channel, deep random networks are chaotic: a difference of one code
    between torch and a runtime grows without bound.
    """

    def observe(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        layer.running_var.fill_(inputs[0].square().mean())  # type: ignore[union-attr]

    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(observe) for layer in layers]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("name", NETWORKS)
def test_float_files_do_what_torch_does(name: str) -> None:
    assert_float_files_are_right(built(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_files_agree_with_each_other_and_with_torch(name: str) -> None:
    network = built(name)
    signed, unsigned, tflite = (
        network.run(kind) for kind in ("onnx-int8-s8", "onnx-int8-u8", "tflite-int8")
    )
    np.testing.assert_array_equal(signed, unsigned)
    difference = np.abs(tflite - signed)
    assert difference.max() <= 1
    assert np.mean(difference == 0) >= 0.999
    # Torch adds up in float32, and 49 random layers multiply what that moves to the next code.
    share = 0.99 if name == "efficientnet_lite0" else 0.999
    difference = np.abs(network.imitation() - signed)
    assert np.mean(difference <= 3) >= share
    assert difference.max() <= 5


def test_shuffles_cost_no_more_than_they_must() -> None:
    """One transposition for each of the 16 units of shufflenet_v2."""
    data = built("shufflenet_v2_x0_5").files["tflite-int8"].data
    assert data.count(b"_turned") + data.count(b".turned") == 16


def test_the_page_of_operators_is_fresh() -> None:
    """If not: python -m edgeticket.pipeline.operators.page > docs/operators.md"""
    page = Path(__file__).parents[2] / "docs" / "operators.md"
    assert page.read_text(encoding="utf-8") == operators_page()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_trained_networks_keep_their_answers(name: str) -> None:
    """Trained for a moment on digits, 500 others: the class that torch's imitation gives."""
    digits = load_dataset(
        DataConfig(name="digits", test=1000, validation=500), seed=0, folder=Path()
    )
    torch.manual_seed(0)
    module = getattr(import_torchvision().models, name)(num_classes=10)
    fit(module, digits.train.inputs[:2560], digits.train.labels[:2560])
    network = build(
        module.eval(), (3, SMALL, SMALL), images=pictures(digits.test.inputs), fit=False
    )
    expected = network.imitation().argmax(1)
    assert np.mean(expected == digits.test.labels[:500]) > 0.9  # it has learned something
    for kind in ("onnx-int8-u8", "tflite-int8"):
        codes = network.run(kind)
        assert np.mean(codes.argmax(1) == expected) >= 0.99
        assert np.mean(np.abs(codes - network.imitation()) <= 3) >= 0.99


def pictures(digits: npt.NDArray[np.uint8]) -> Tensor:
    """Digits, [N, 28, 28, 1] in 0..255 -> the first 500 as pictures, [N, 3, SMALL, SMALL]."""
    gray = torch.from_numpy(digits[:500].astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
    return F.interpolate(gray, (SMALL, SMALL), mode="bilinear").expand(-1, 3, -1, -1).contiguous()


def fit(module: nn.Module, inputs: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
    """Eight epochs of Adam, ever slower; then statistics for batch norm, which lag behind."""
    optimizer = torch.optim.Adam(module.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    for _ in range(8):
        for index in torch.randperm(len(inputs)).split(64):
            loss = F.cross_entropy(
                module.train()(pictures(inputs[index])), torch.from_numpy(labels[index]).long()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the mean of what follows
    with torch.no_grad():
        for index in torch.arange(len(inputs)).split(256):
            module(pictures(inputs[index]))
