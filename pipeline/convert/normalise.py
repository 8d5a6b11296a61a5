"""ONNX bytes of any maker -> a model of fixed sizes: a batch of one, one operator set, folded."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator

import onnx
from onnx import version_converter

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.formats.onnx_model import parse_onnx, validate_onnx
from edgeticket.pipeline.graph.graph import OPSET

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
UNLIKELY = 65536  # a size that is a mistake, or an attack


def parse_model(data: bytes, place: str) -> onnx.ModelProto:
    """A whole and valid file with its weights inside.

    Raises:
        InputError: it is not; the sentence says what to do instead.
    """
    model = parse_onnx(data, place=place)
    validate_onnx(model, place=place)
    return model


def check_nodes(model: onnx.ModelProto, place: str) -> None:
    """Refuse control flow, and operators that only some runtimes have."""
    functions = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        label = f"{place}: {node.name or node.op_type} ({node.op_type})"
        if node.op_type in CONTROL_FLOW:
            raise InputError(
                f"{label} is control flow, which runtimes on devices do not have: export it "
                "traced, without branches and loops"
            )
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in functions:
            raise InputError(
                f"{label} is of {node.domain}, which only some runtimes have: export it with "
                "standard ONNX operators, and not optimised for one runtime"
            )


def fix_ends(model: onnx.ModelProto, place: str) -> None:
    """One example at a time goes in, and what comes out follows from that."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)  # older exporters list them there
    for value in model.graph.input:
        _fix_sizes(value, place)
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _fix_sizes(value: onnx.ValueInfoProto, place: str) -> None:
    """An open batch becomes 1; other sizes must be fixed."""
    sizes = value.type.tensor_type.shape.dim
    for i, size in enumerate(sizes):
        is_open = not size.HasField("dim_value") or size.dim_value <= 0
        if i == 0 and (is_open or size.dim_value == 1):
            size.dim_value = 1
        elif i == 0:
            raise InputError(
                f"{place}: its input {value.name} takes {size.dim_value} examples at a time: "
                "export it with a batch of 1, or an open one"
            )
        elif is_open:
            raise InputError(
                f"{place}: its input {value.name} leaves size {i} open "
                f"({size.dim_param or '?'}): export it with that size fixed; only the batch may be "
                "open"
            )
        elif size.dim_value > UNLIKELY:
            raise InputError(f"{place}: its input has a side of {size.dim_value}: export it again")
    if not sizes:
        raise InputError(f"{place}: its input {value.name} has no batch: export it with one")


def in_one_form(model: onnx.ModelProto, place: str) -> onnx.ModelProto:
    """In one operator set, all sizes known, and what follows from sizes alone computed."""
    from onnxscript import optimizer

    (version,) = (e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
    del model.graph.value_info[:]
    try:
        if version != OPSET:
            model = version_converter.convert_version(model, OPSET)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        with _quiet():
            model = optimizer.optimize(model)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # the three raise whatever they meet
        told = " ".join(str(error).split())[:300]
        raise InputError(
            f"{place}: operator set {version} cannot be brought into the form of {OPSET} ({told}): "
            f"export it with operator set {OPSET}"
        ) from None
    for value in (*model.graph.value_info, *model.graph.output):
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if math.prod(sizes) > 2**31 - 1:
            raise InputError(f"{place}: {value.name} has shape {sizes}, which no device holds")
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The optimiser warns of every weight that an old file lists among its inputs as well."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        yield
    finally:
        logger.setLevel(level)
