"""Scales that meet in an addition become odd multiples of one unit."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from edgeticket.pipeline.quantize.ranges import Range
from edgeticket.pipeline.quantize.scales import ActivationScale, activation_scale

# Integer kernels cannot multiply by more than 2^8 while they add.
SMALLEST_MULTIPLE, LARGEST_MULTIPLE = 3, 511


def align(
    group: Mapping[str, ActivationScale], ranges: Mapping[str, Range]
) -> dict[str, ActivationScale]:
    """Widen scales a little so that sums of their tensors never fall half way between codes.

    Runtimes disagree where a sum lies (almost) half way between two codes: some add in float32
    and round half to even, others in fixed point and round half up. With all scales odd
    multiples of a unit, scale_i = k_i × unit, a sum in output codes is the fraction
    (k_a·q_a + k_b·q_b) / k_out with an odd denominator: at least 1 / (2·k_out) from half way,
    far more than any of the roundings inside. Multiples are rounded up, so no range shrinks;
    the unit has 12 significant bits, so every multiple of it is an exact float32.
    """
    largest = max(a.scale for a in group.values())
    mantissa, exponent = math.frexp(largest / LARGEST_MULTIPLE)
    unit = math.ldexp(math.ceil(mantissa * 2**12), exponent - 12)
    aligned = {}
    for name, activation in group.items():
        multiple = max(math.ceil(activation.scale / unit), SMALLEST_MULTIPLE)
        scale = float(np.float32((multiple + 1 - multiple % 2) * unit))
        aligned[name] = activation_scale(*ranges[name], scale=scale)
    return aligned
