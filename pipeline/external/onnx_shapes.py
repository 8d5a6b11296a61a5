"""The shape of every value of an ONNX file, as far as it can be known without running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from edgeticket.device_runner.runtimes.ort import find

Shape = tuple[int | None, ...]  # None: open
Shapes = Mapping[str, Shape]


def find_shapes(model: onnx.ModelProto) -> Shapes:
    """Name -> shape, of constants too; an open batch is one example, other open sizes are None.

    ONNX's own inference ends at operators that are no standard, such as those of quantised files;
    there ONNX Runtime is asked, which knows its own.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    _fix_batch(fixed.graph)
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        inferred = fixed
    shapes: dict[str, Shape] = {}
    for graph in _graphs(inferred.graph):
        for tensor in graph.initializer:
            shapes[tensor.name] = tuple(tensor.dims)
        for sparse in graph.sparse_initializer:
            shapes[sparse.values.name] = tuple(sparse.dims)
        for value in (*graph.value_info, *graph.input, *graph.output):
            if value.type.tensor_type.HasField("shape"):
                shape = _shape(value.type.tensor_type.shape)
                shapes.setdefault(value.name, shape)
    names = [name for node in inferred.graph.node for name in node.output if name]
    if any(None in shapes.get(name, (None,)) for name in names):
        shapes |= _ask_runtime(fixed, names)
    return shapes


def _fix_batch(graph: onnx.GraphProto) -> None:
    """The first size of the inputs becomes 1 where it is open, and so it does wherever its name is
    given again."""
    constants = {tensor.name for tensor in graph.initializer}
    names = set()
    for value in graph.input:
        sizes = value.type.tensor_type.shape.dim
        if value.name not in constants and len(sizes) and _size(sizes[0]) is None:
            names.add(sizes[0].dim_param)
            sizes[0].dim_value = 1
    for value in (*graph.input, *graph.value_info, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param and size.dim_param in names:
                size.dim_value = 1
            elif _size(size) is None and not size.dim_param:
                size.Clear()  # a size of -1 is no size, though written as one
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")  # it follows from the inputs


def _ask_runtime(model: onnx.ModelProto, names: list[str]) -> dict[str, Shape]:
    """What ONNX Runtime infers; nothing if it does not take the file."""
    asking = onnx.ModelProto()
    asking.CopyFrom(model)
    present = {value.name for value in asking.graph.output}
    for name in dict.fromkeys(names):
        if name not in present:
            asking.graph.output.add(name=name)
    try:
        _, ort = find()
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(
            asking.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # of several kinds; without it, shapes stay unknown
        return {}
    inferred = {value.name: value.shape for value in session.get_outputs()}
    return {
        name: tuple(size if isinstance(size, int) and size >= 0 else None for size in shape)
        for name, shape in inferred.items()
        if isinstance(shape, list)
    }


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    yield from _graphs(body)


def _shape(shape: onnx.TensorShapeProto) -> Shape:
    return tuple(_size(size) for size in shape.dim)


def _size(size: onnx.TensorShapeProto.Dimension) -> int | None:
    return size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None
