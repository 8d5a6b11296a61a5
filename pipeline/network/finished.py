"""A finished file as a network: what ``model: {onnx: FILE}`` and ``model: {pt2: FILE}`` begin with.

It becomes the graph, and that is the architecture of the network: it needs the file no more.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network, Takes
from edgeticket.pipeline.convert.read import FloatFile, read_float
from edgeticket.pipeline.formats.onnx_model import read_file, read_onnx
from edgeticket.pipeline.graph.graph import Array, Constant, Graph
from edgeticket.pipeline.graph.network import GraphNetwork, build, plainly_named
from edgeticket.pipeline.graph.pt2 import read_program
from edgeticket.pipeline.graph.written import write_graph
from edgeticket.pipeline.network.weights import find_weights
from edgeticket.pipeline.recipe import ModelConfig

ZIP = b"PK\x03\x04"  # what a .pt2 file begins with
TOLERANCE = 1e-3  # of the largest output: sums in another order
EXAMPLES = 2  # that a file is compared with its graph on


def read_finished(file: Path) -> Network:
    """The network in ``file``, by its first bytes: ONNX, or a program of torch.export (.pt2).

    Raises:
        InputError: the file cannot be read, is damaged, or has something that cannot be written
            for the runtimes; the sentence says what to do instead.
    """
    data = read_file(file)
    if data[4:8] == b"TFL3":
        raise InputError(
            f"{file} is a TFLite file, which is finished: `edgeticket bundle {file} --samples DIR` "
            "makes a bundle to measure of it, and `edgeticket inspect` says what is in it"
        )
    if not data.startswith(ZIP):
        data = read_onnx(file)  # with what lies beside it
    kind = "pt2" if data.startswith(ZIP) else "onnx"
    return _network(module_of_file(data, str(file)), f"{kind}:{file.name}", str(file))


def model_args(model: ModelConfig, *, folders: Sequence[Path]) -> models.Args:
    """The arguments of a recipe's architecture; of a finished file that is its graph."""
    if model.file is None:
        return model.args
    return read_finished(find_weights(model.file, folders=folders)).args


def takes_of(args: models.Args) -> tuple[tuple[int, ...], ...]:
    """The shape of each input of a network of a finished file, without the batch."""
    return build(str(args["graph"])).takes


@functools.lru_cache(maxsize=2)  # a run asks for it in several places
def module_of_file(data: bytes, place: str) -> GraphNetwork:
    """The bytes of a file -> a module; of an ONNX file, it answers as ONNX Runtime does.

    Raises:
        InputError: as `read_finished`.
    """
    if data.startswith(ZIP):
        module = module_of(*read_program(data, place=place))
        _answers(module, example_inputs(module), place)
        return module
    read = read_float(data, place=place)
    if not read.trained:
        raise InputError(f"{place} has no weights: export it with the weights inside")
    module = module_of(read.graph, read.trained)
    compare(module, read, place)
    return module


def module_of(graph: Graph, trained: frozenset[str]) -> GraphNetwork:
    """A graph that was read -> the module that computes it."""
    graph, trained = plainly_named(_in_known_types(graph), trained)
    module = GraphNetwork(graph, trained)
    module.load_state_dict(_tensors(graph), strict=False)  # batch norms have counters
    return module.eval()


def _in_known_types(graph: Graph) -> Graph:
    constants = {
        name: Constant(constant.data.astype(np.int64))
        if constant.data.dtype.kind in "iu"
        else constant
        for name, constant in graph.constants.items()
    }
    return replace(graph, constants=constants)


def _tensors(graph: Graph) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(c.data)) for name, c in graph.constants.items()}


def _network(module: GraphNetwork, arch: str, place: str) -> Network:
    takes: Takes = module.takes[0] if len(module.takes) == 1 else module.takes
    trained = {name for name, _ in module.named_parameters()}
    graph = module.graph()
    args = {"graph": write_graph(graph, trained & graph.constants.keys())}
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return Network(arch, args, weights, takes=takes)


def compare(module: GraphNetwork, read: FloatFile, place: str) -> None:
    """Run a file in ONNX Runtime, and its graph.

    Raises:
        InputError: they do not answer alike.
    """
    inputs = example_inputs(module)
    found, expected = _answers(module, inputs, place), _run(read.data, inputs, place)
    for i, answers in enumerate(found):
        file = _stacked([outputs[i] for outputs in expected], answers)
        _check(
            answers,
            file,
            place,
            "cannot be followed: what was read of it does not answer as it does in ONNX Runtime",
        )


def _answers(module: GraphNetwork, inputs: Sequence[Tensor], place: str) -> list[Array]:
    """Its outputs, which must be the same for one example at a time and for several."""
    with torch.inference_mode():
        try:
            single = [_arrays(module(*(x[i : i + 1] for x in inputs))) for i in range(EXAMPLES)]
        except (RuntimeError, ValueError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{place} does not run in PyTorch ({reason}): export it again"
            ) from None
        try:
            together = _arrays(module(*inputs))
        except (RuntimeError, ValueError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{place} takes one example at a time, and not {EXAMPLES} ({reason}): export it "
                "with an open batch, the first axis throughout"
            ) from None
    for i, answers in enumerate(together):
        one = _stacked([outputs[i] for outputs in single], answers)
        _check(answers, one, place, "mixes the examples of a batch")
    return together


def _stacked(parts: Sequence[Array], whole: Array) -> Array:
    """Answers to single examples as one array, along the axis that is longer in ``whole``."""
    sizes = zip(parts[0].shape, whole.shape, strict=False)
    axis = next((i for i, (one, all_) in enumerate(sizes) if one != all_), 0)
    return np.concatenate(parts, axis)


def _check(found: Array, expected: Array, place: str, what: str) -> None:
    if found.shape == expected.shape:
        largest = max(1.0, float(np.max(np.abs(expected), initial=0)))
        difference = (
            float(np.max(np.abs(found - expected.astype(found.dtype)), initial=0)) / largest
        )
        if difference <= TOLERANCE:
            return
        reason = f"it differs by {difference:.3g}"
    else:
        reason = f"it gives {list(found.shape)}, not {list(expected.shape)}"
    raise InputError(
        f"{place} {what} ({reason}); make a bundle of the file as it is with `edgeticket bundle`"
    )


def example_inputs(module: GraphNetwork) -> tuple[Tensor, ...]:
    """A batch for each input, the same each time; whole numbers are 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for name, shape in zip(module.inputs, module.takes, strict=True):
        if module.inputs[name] == "float32":
            inputs.append(torch.randn(EXAMPLES, *shape, generator=generator))
        else:
            inputs.append(torch.randint(0, 2, (EXAMPLES, *shape), generator=generator))
    return tuple(inputs)


def _arrays(outputs: Any) -> list[Array]:
    return [o.numpy() for o in (outputs if isinstance(outputs, tuple) else (outputs,))]


def _run(data: bytes, inputs: Sequence[Tensor], place: str) -> list[list[Array]]:
    """What ONNX Runtime answers to each example."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    # As written: an optimised graph would answer for the optimiser as well.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        taken = {value.name: value.type for value in session.get_inputs()}
        examples = []
        for i in range(EXAMPLES):
            arrays = [x[i : i + 1].numpy() for x in inputs]
            fed = {
                name: array.astype(np.int32) if "int32" in kind else array
                for (name, kind), array in zip(taken.items(), arrays, strict=True)
            }
            examples.append(session.run(None, fed))
        return examples
    except Exception as error:  # of the runtime's own, which derive from nothing else
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{place} does not run in ONNX Runtime ({reason}): export it again"
        ) from None
