"""The arithmetic of CPUs without dot products, against a plain convolution and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diff_fixtures import graph

from edgeticket.pipeline.convert.onnx_file import write_onnx
from edgeticket.pipeline.diff.saturation import (
    Product,
    can_saturate,
    read_products,
    saturated_share,
)


def linear(*weights: list[int]) -> Product:
    return Product("layer", "x", np.array(weights, np.int8), None)


def test_two_large_products_saturate_and_one_does_not() -> None:
    high, low = np.full((1, 2), 255, np.uint8), np.full((1, 2), 100, np.uint8)
    both = linear([127, 127], [127, 0], [-127, -127], [127, -127])
    assert can_saturate(both)
    assert saturated_share(both, high) == 0.5
    assert saturated_share(both, low) == 0.0
    # 255 × (64 + 64) = 32,640 still fits; one more does not.
    assert not can_saturate(linear([64, 64]))
    assert can_saturate(linear([64, 65]))
    assert saturated_share(linear([64, 65]), high) == 1.0


def test_only_neighbours_are_added() -> None:
    codes = np.array([[255, 0, 255, 0]], np.uint8)
    assert saturated_share(linear([127, 127, 127, 127]), codes) == 0.0
    assert saturated_share(linear([127, 0, 127]), np.full((1, 3), 255, np.uint8)) == 0.0


@pytest.mark.parametrize(
    ("strides", "pads", "dilations"),
    [((1, 1), (1, 1, 1, 1), (1, 1)), ((2, 1), (0, 1, 2, 0), (1, 2))],
)
def test_rows_times_weights_is_the_convolution(
    strides: tuple[int, int], pads: tuple[int, int, int, int], dilations: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (1, 3, 9, 8)).astype(np.uint8)
    weight = rng.integers(-127, 128, (5, 3, 3, 2)).astype(np.int8)
    flat = weight.transpose(0, 2, 3, 1).reshape(5, -1)
    product = Product("c", "x", flat, (3, 2), strides, pads, dilations, padding_code=7)
    sums = product.rows(codes).astype(np.int64) @ flat.T.astype(np.int64)
    top, left, bottom, right = pads
    padded = F.pad(torch.from_numpy(codes).double(), (left, right, top, bottom), value=7)
    expected = F.conv2d(
        padded, torch.from_numpy(weight).double(), stride=strides, dilation=dilations
    )
    np.testing.assert_array_equal(sums.T, expected[0].reshape(5, -1).long().numpy())


def test_layers_are_read_from_a_file() -> None:
    products = read_products(write_onnx(graph("int8"), unsigned=True), title="it")
    # The depthwise convolution has kernels of its own.
    assert [(p.name, p.source) for p in products] == [
        ("first", "input"), ("wide", "relu"), ("point", "relu6"),
        ("hidden", "flatten"), ("last", "relu_2"),
    ]  # fmt: skip
    assert products[0].pads == (1, 1, 1, 1)
