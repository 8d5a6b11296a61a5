"""Kernels that compute something else than the file says, or in another precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeticket.pipeline.diff.saturation import can_saturate, read_products, saturated_share
from edgeticket.pipeline.why.finding import Cause, Change, Finding, Remedy
from edgeticket.pipeline.why.nodes import float_operators
from edgeticket.pipeline.why.pair import Pair

SAMPLES = 4  # whose sums are repeated


def find_saturating(pair: Pair) -> Sequence[Finding]:
    """Layers whose pairs of products leave 16 bits on a CPU that adds them there.

    The sums are repeated from real weights and activations; where there is no file to repeat them
    from, the report's own CPU and artifact say that they may.
    """
    remedy = Remedy(
        "use the LiteRT file, or the ONNX file with int8 activations, on this CPU: both add in "
        "32 bits; no recipe changes the kernel"
    )
    second = pair.second
    if pair.dot_products:
        return ()
    if second.file is None:
        report = second.report
        if report is None or not report.artifact.exact_with:
            return ()
        needed = ", ".join(report.artifact.exact_with)
        says = f"the CPU has none of {needed}; --bundle tells at which layers sums leave 16 bits"
        return (Finding(Cause.SATURATING, None, says, {"needs": needed}, remedy),)
    if second.file.runtime != "ort" or second.file.precision != "int8":
        return ()
    if pair.second_trace is None:
        return ()
    found = []
    for product in read_products(second.file.data, title=second.title):
        codes = pair.second_trace.codes.get(product.source)
        if codes is None and product.source == second.file.inputs[0].name and pair.inputs:
            spec = second.file.inputs[0]
            if spec.scale is not None and spec.zero_point is not None:
                steps = np.rint(pair.inputs[0] / np.float32(spec.scale)) + spec.zero_point
                codes = np.clip(steps, 0, 255).astype(np.int32) - 128
        if codes is None or not can_saturate(product):
            continue
        shares = [
            saturated_share(product, (x[None] + 128).astype(np.uint8)) for x in codes[:SAMPLES]
        ]
        share = float(np.mean(shares))
        if share > 0:
            found.append(
                Finding(
                    Cause.SATURATING,
                    product.name,
                    f"{share:.2%} of its numbers need sums beyond ±2^15, which this CPU cuts off",
                    {"saturated_share": share},
                    remedy,
                )
            )
    return found


def find_float32(pair: Pair) -> Sequence[Finding]:
    """Operators that an int8 file computes in float32, and the first file does not so name."""
    file = pair.second.file
    if file is None or file.precision != "int8":
        return _slow_float(pair)
    first = pair.first.file
    before = set() if first is None or first.precision != "int8" else set(float_operators(first))
    kinds_before = {kind.lower() for _, kind in before}
    found = []
    for name, kind in float_operators(file):
        if (name, kind) in before or kind.lower() in kinds_before:
            continue
        layer = pair.layer(name)
        found.append(
            Finding(
                Cause.FLOAT32,
                layer,
                f"{kind} is computed in float32 between codes",
                {"operator": kind},
                Remedy(
                    "round the layer too, if `keep_fp32` names it; else the network wants another "
                    "operator there (docs/operators.md says which have an integer form)",
                    (Change(("ptq", "qat"), "keep_fp32", ()),),
                ),
            )
        )
    return found


def _slow_float(pair: Pair) -> Sequence[Finding]:
    """The same of a report of layers, whose first side ran the layer in integers."""
    one, other = pair.first.layers, pair.second.layers
    if one is None or other is None:
        return ()
    before = {layer.name: layer for layer in one.layers}
    if not any(layer.precision == "int8" for layer in other.layers):
        return ()
    return tuple(
        Finding(
            Cause.FLOAT32,
            layer.name,
            f"{layer.kind} gives float32 and takes {layer.time_ns / 1e3:.1f} µs, before "
            f"{before[layer.name].time_ns / 1e3:.1f} µs in int8",
            {"time_ns": layer.time_ns, "time_before_ns": before[layer.name].time_ns},
            Remedy("round the layer too", (Change(("ptq", "qat"), "keep_fp32", ()),)),
        )
        for layer in other.layers
        if layer.precision == "fp32"
        and layer.name in before
        and before[layer.name].precision == "int8"
    )
