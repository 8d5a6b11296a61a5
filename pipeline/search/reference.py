"""Probes that are the same in every session: is a board as fast as when its times were kept?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgeticket.pipeline.graph.graph import Constant, Graph, Operator, Quantization, Value
from edgeticket.pipeline.search.probes import ProbeFile, probe_file

SHAPE = (1, 16, 32, 32)
TURNS = 4  # convolutions in a row


def reference_files(runtimes: Iterable[str], *, architecture: str) -> list[ProbeFile]:
    """Convolutions in both precisions, for each runtime."""
    return [
        probe_file(convolutions(rounded=rounded), runtime, architecture=architecture)
        for runtime in runtimes
        for rounded in (False, True)
    ]


def convolutions(*, rounded: bool) -> Graph:
    """Some 3x3 convolutions of 16 channels of 32x32 in a row, each clipped at 0."""
    generator = np.random.default_rng(0)
    quantization = Quantization(np.float32(2.0**-5), -128) if rounded else None
    values = {"y0": Value("y0", SHAPE, quantization)}
    operators, constants = [], {}
    shape = (SHAPE[1], SHAPE[1], 3, 3)
    for turn in range(TURNS):
        if rounded:
            codes = generator.integers(-127, 128, shape).astype(np.int8)
            weight = Constant(codes, np.full(shape[0], 2.0**-8, np.float32))
        else:
            weight = Constant(generator.normal(0, 0.1, shape).astype(np.float32))
        constants[f"w{turn}"] = weight
        constants[f"b{turn}"] = Constant(np.full(shape[0], 0.125, np.float32))
        attributes = {
            "group": 1,
            "dilations": [1, 1],
            "kernel_shape": [3, 3],
            "pads": [1, 1, 1, 1],
            "strides": [1, 1],
        }
        output = f"y{turn + 1}"
        values[output] = Value(output, SHAPE, quantization)
        operators.append(
            Operator(
                f"s{turn}",
                "Conv",
                (f"y{turn}", f"w{turn}", f"b{turn}"),
                output,
                attributes,
                clamp=None if rounded else (0.0, float("inf")),
            )
        )
    return Graph(("y0",), (f"y{TURNS}",), tuple(operators), values, constants)
