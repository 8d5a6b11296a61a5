"""The one graph that every network becomes, and the common source of every file that is written.

Operators are those of ONNX; constants are arrays, and there is no torch here. What `prepare` makes
plain, so that no writer has to think of it:
- constants are arrays; quantised weights are folded to int8 codes with their scales;
- QuantizeLinear and DequantizeLinear disappear: a value knows its scale and zero point;
- a ReLU or Clip that alone reads a convolution, linear layer, addition or pool is its `clamp`;
- flattening is Flatten, averaging over the whole map is GlobalAveragePool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError

Array = npt.NDArray[Any]

OPSET = 20  # the ONNX operator set that is read and written; onnxruntime 1.18 knows it
IR_VERSION = 10  # onnxruntime before 1.24 refuses newer files

LOWEST, HIGHEST = -128, 127

# What an operator may clip its own output to; other bounds are an operator of their own.
FUSIBLE = frozenset({(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0)})


@dataclass(frozen=True)
class Quantization:
    """real = scale × (code − zero_point); codes are −128..127."""

    scale: np.float32
    zero_point: int

    def code(self, real: float) -> float:
        """The code of a real number before saturation; infinity stays infinite."""
        return float(np.rint(real / float(self.scale))) + self.zero_point

    def bounds(self, clamp: tuple[float, float]) -> tuple[int, int]:
        """The codes that stand for real bounds, within those that there are."""
        low, high = (min(max(self.code(real), LOWEST), HIGHEST) for real in clamp)
        return int(low), int(high)


class _Immutable:
    """What is never changed is its own copy."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


@dataclass(frozen=True)
class Value(_Immutable):
    """A tensor that flows: shape as in ONNX (batch of 1, channels, ...)."""

    name: str
    shape: tuple[int, ...]
    quantization: Quantization | None = None
    dtype: str = "float32"  # or int64, bool; of codes, what they stand for


@dataclass(frozen=True)
class Constant(_Immutable):
    """float32 numbers, or int8 codes with a symmetric ``scale`` for each output channel.

    Output channels lie along axis 0; those of a ConvTranspose along axis 1, group after group.

    unfit: of float32 numbers that were stored as codes: why a layer cannot compute on those.
    """

    data: Array
    scale: npt.NDArray[np.float32] | None = None
    unfit: str = ""


@dataclass(frozen=True)
class Operator(_Immutable):
    """One ONNX node; ``inputs`` name values or constants, "" is an absent one.

    clamp: real bounds that the output is clipped to.
    origin: paths of the PyTorch modules that it was, a layer and then its norm, "" where unknown;
        and its node in the ONNX file it is from.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    clamp: tuple[float, float] | None = None
    origin: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


@dataclass(frozen=True)
class Scaled(_Immutable):
    """A layer's weights are now factor · weight, its bias factor · bias + shift, by output channel.

    Both are float64.
    """

    factor: Array
    shift: Array


@dataclass(frozen=True)
class Arranged(_Immutable):
    """A layer's weight is made of the numbers of another one; that is stored.

    places: for each number of the layer's weight, where it is in the flattened stored one; -1 where
        there is none and it stays 0.
    shape: of the stored weight, [inputs, outputs / group, ...].
    groups: of the stored weight.
    copies: how often the stored bias is repeated.
    """

    places: Array
    shape: tuple[int, ...]
    groups: int
    copies: int

    def gathered(self, weight: Array) -> Array:
        """The stored weight that the layer's weight is made of."""
        stored = np.zeros(math.prod(self.shape), weight.dtype)
        is_stored = self.places >= 0
        stored[self.places[is_stored]] = weight[is_stored]
        return stored.reshape(self.shape)


@dataclass(frozen=True)
class Graph(_Immutable):
    """Operators in order of execution; inputs and outputs are names of values.

    scaled: what stored numbers the network multiplied and shifted a layer's output by, where they
        have become part of the layer; by its output.
    arranged: layers whose weight is made of another one's numbers, by output.
    verbatim: its steps in float32 are written as they stand (a quantised file of another's, which
        its own runtime computes so), not as all runtimes compute alike.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[Operator, ...]
    values: Mapping[str, Value]
    constants: Mapping[str, Constant]
    scaled: Mapping[str, Scaled] = field(default_factory=dict)
    arranged: Mapping[str, Arranged] = field(default_factory=dict)
    verbatim: bool = False

    def is_quantized(self) -> bool:
        """Whether any value is rounded; others may be computed in float32 between those."""
        return any(value.quantization is not None for value in self.values.values())


def is_redundant(clamp: tuple[float, float], quantization: Quantization) -> bool:
    """Whether saturation to −128..127 already clips at least as hard as ``clamp``."""
    low, high = clamp
    return quantization.code(low) <= LOWEST and quantization.code(high) >= HIGHEST


def integer_bias(operator: Operator, graph: Graph) -> tuple[npt.NDArray[np.int32], Array]:
    """The bias of a quantised Conv or Gemm as int32 codes, and their scale for each channel.

    The scale is input scale × weight scale (TFLite 8-bit quantisation specification), so that
    the accumulator starts at the bias. An absent bias is 0.

    Raises:
        InputError: a bias does not fit int32.
    """
    source = graph.values[operator.inputs[0]].quantization
    weight = graph.constants[operator.inputs[1]]
    assert source is not None
    assert weight.scale is not None
    scale = source.scale * weight.scale
    if len(operator.inputs) < 3:
        return np.zeros(len(scale), np.int32), scale
    bias = graph.constants[operator.inputs[2]].data
    codes = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    limits = np.iinfo(np.int32)
    if not ((codes >= limits.min) & (codes <= limits.max)).all():
        channel = int(np.argmax(np.abs(codes)))
        raise InputError(
            f"{operator}: the bias of channel {channel} ({bias[channel]:.3g}) is too large for "
            f"its scale ({scale[channel]:.3g}); name the layer "
            "under keep_fp32 in ptq or qat, or remove the channel with channel_magnitude"
        )
    return codes.astype(np.int32), scale
