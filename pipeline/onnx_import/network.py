"""An ONNX file -> a network with its weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edgeticket import models
from edgeticket.device_runner.errors import InputError
from edgeticket.models.network import Network
from edgeticket.pipeline.export import check_onnx
from edgeticket.pipeline.external.onnx_model import read_file, read_onnx
from edgeticket.pipeline.network.file import known_tensors
from edgeticket.pipeline.network.weights import find_weights
from edgeticket.pipeline.onnx_import.draft import Draft
from edgeticket.pipeline.onnx_import.gelu import fuse_gelu
from edgeticket.pipeline.onnx_import.operators import OPERATORS
from edgeticket.pipeline.onnx_import.source import read_source
from edgeticket.pipeline.recipe import ModelConfig

TOLERANCE = 1e-3  # of the largest output: sums in another order


def read_onnx_network(file: Path) -> Network:
    """The network in ``file``: float32 [N, C, ...] in, one output; answers as the file does.

    Its architecture is a program (`models.program`), so that it needs the file no more.

    Raises:
        InputError: the file cannot be read, is damaged, or has something that has no place in int8
            files; the sentence says what to do instead.
    """
    if read_file(file)[4:8] == b"TFL3":
        raise InputError(
            f"{file} is a TFLite file, which is finished: `edgeticket bundle {file} --samples DIR` "
            "makes a bundle to measure of it, and `edgeticket inspect` says what is in it"
        )
    return network_of_onnx(read_onnx(file), str(file), file.name)


def model_args(model: ModelConfig, *, folders: Sequence[Path]) -> models.Args:
    """The arguments of a recipe's architecture; of an ONNX file that is its program."""
    if model.onnx is None:
        return model.args
    return read_onnx_network(find_weights(model.onnx, folders=folders)).args


@functools.lru_cache(maxsize=2)  # a run asks for it in several places
def network_of_onnx(data: bytes, place: str, name: str) -> Network:
    """The network in the bytes of a file; ``place`` is what errors call it. See above.

    Raises:
        InputError: as `read_onnx_network`.
    """
    source = read_source(data, place=place)
    source = replace(source, nodes=fuse_gelu(source))
    draft = Draft(source, place)
    # First of all: no other advice helps a network with one of these.
    unknown = [node for node in source.nodes if node.op_type not in OPERATORS]
    if unknown:
        raise draft.refuse(
            unknown[0],
            f"is an operator that cannot be written for all runtimes (known: "
            f"{', '.join(sorted(OPERATORS))}): replace it where the network was made, or make "
            "a bundle of the file as it is with `edgeticket bundle`",
        )
    for node in source.nodes:
        try:
            OPERATORS[node.op_type](draft, node)
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
            reason = f"is not as ONNX defines it ({error!r}): export it again"
            raise draft.refuse(node, reason) from None
    if not draft.tensors:
        raise InputError(f"{place} has no weights: export it with the weights inside")
    takes = source.shapes[source.input][1:]
    program = {
        "takes": list(takes),
        "steps": [[s.name, s.operator, s.inputs, s.settings] for s in draft.steps.values()],
        "output": draft.made_by[source.output],
    }
    arch, args = f"onnx:{name}", {"program": json.dumps(program, separators=(",", ":"))}
    weights = {
        tensor: torch.from_numpy(np.array(draft.tensors[tensor], dtype=np.float32))
        if tensor in draft.tensors
        else torch.zeros(known.shape, dtype=known.dtype)  # batch norm's counters
        for tensor, known in known_tensors(arch, args, {}, ()).items()
    }
    network = Network(arch, args, weights, takes=takes)
    _compare(network, source.data, place)
    return network


def _compare(network: Network, data: bytes, place: str) -> None:
    """The network must answer as the file does in ONNX Runtime."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, *network.takes, generator=generator)
    try:
        check_onnx(data, network.module(), inputs, tolerance=TOLERANCE)
    except Exception as error:  # the runtime's own kinds, too
        told = " ".join(str(error).split())
        raise InputError(
            f"{place} cannot be followed: what was read of it does not answer as it does in ONNX "
            f"Runtime ({told}); make a bundle of the file as it is with `edgeticket bundle`"
        ) from None
