"""Inputs and outputs of several files of one network: which belong together, with which axes.

Files call them as their tools liked, and list them in any order. The first file in float32 is the
base; what belongs to what follows from names, then from shapes, and of outputs from the answers to
one example.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import to_reals
from edgeticket.device_runner.manifest import InputSpec, TensorSpec
from edgeticket.device_runner.outputs import as_network
from edgeticket.device_runner.preprocess import prepare, query_of
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.pipeline.external.file import ExternalModel

Array = npt.NDArray[Any]

Move = tuple[int, int] | None
"""Which axis becomes which, of an end's so that they are the base's; None: they are."""

Distance = Callable[[ExternalModel, int, int, Move], float]
"""(file, its output, the base's, move) -> how far the answers are from one another."""

# By number of axes: channels first, channels last.
BY_RANK = {3: ("NCW", "NWC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
MOST_ALIKE = 6  # ends of one shape whose every pairing is tried; beyond that order decides


def base_of(read: Sequence[ExternalModel]) -> ExternalModel:
    """The file that the others are brought in line with."""
    return next((model for model in read if model.precision == "fp32"), read[0])


def with_layout(spec: TensorSpec, shape: Sequence[int], layout: str | None) -> TensorSpec:
    """An input with the layout in which it takes samples of ``shape``, channels last.

    Args:
        spec: of the input.
        shape: of one sample as stored.
        layout: the user's, where shapes do not tell.

    Raises:
        InputError: no layout does.
    """
    if layout is not None and (len(layout) != len(spec.shape) or not spec.has_batch):
        raise InputError(
            f"it has shape {list(spec.shape)}, which is not a batch of 1 and the layout {layout}"
        )
    if layout is not None:
        return replace(spec, layout=layout)
    shape = tuple(shape)
    if len(spec.shape) == 2 and spec.has_batch and spec.shape[1] == np.prod(shape):
        return replace(spec, layout="NC")
    first = (shape[-1:] + shape[:-1]) if shape else ()
    if len(spec.shape) in BY_RANK and spec.has_batch:
        channels_first, channels_last = BY_RANK[len(spec.shape)]
        for wanted, name in ((shape, channels_last), (first, channels_first)):
            if spec.shape[1:] == wanted:
                return replace(spec, layout=name)
    if spec.sample_shape == shape:
        return spec
    raise InputError(
        f"it has shape {list(spec.shape)}, samples have {list(shape)} (channels last): they do "
        "not fit; resize the samples, or give --layout if this is the model's"
    )


def aligned_inputs(read: Sequence[ExternalModel]) -> list[ExternalModel]:
    """Every file with its inputs in the order of the base's, and layouts where orders of axes
    differ.

    Raises:
        InputError: a file takes something else than the base.
    """
    base = base_of(read)
    found = [_paired(model, base, "inputs") for model in read]
    return _with_layouts(read, found, base, "inputs")


def aligned_outputs(
    read: Sequence[ExternalModel], stored: Sequence[Array], described: Sequence[InputSpec]
) -> list[ExternalModel]:
    """Every file with its outputs in the order of the base's, likewise.

    Args:
        read: with inputs in one order.
        stored: one example or more for each input.
        described: those inputs.

    Raises:
        InputError: a file gives something else than the base.
    """
    base = base_of(read)
    pairs = [_answered(model, stored, described, only_finite=model is not base) for model in read]
    read = [model for model, _ in pairs]
    answers = {id(model): answer for model, answer in pairs}
    base = base_of(read)

    def distance(model: ExternalModel, number: int, other: int, move: Move) -> float:
        mine, theirs = answers[id(model)][number], answers[id(base)][other]
        mine = mine if move is None else np.moveaxis(mine, *move)
        scale = float(np.linalg.norm(theirs)) or 1.0
        return float(np.linalg.norm(mine - theirs)) / scale

    found = [_paired(model, base, "outputs", distance) for model in read]
    return _with_layouts(read, found, base, "outputs", distance)


def _answered(
    model: ExternalModel,
    stored: Sequence[Array],
    described: Sequence[InputSpec],
    *,
    only_finite: bool,
) -> tuple[ExternalModel, list[Array]]:
    """The file with outputs of the sizes that its answer to the first example has, and that, real
    numbers with the batch.

    Files may leave sizes open that follow from the input, such as how many candidates there are.
    """
    session = get_runtime(model.runtime).load(
        model.data, threads=1, place=model.place, inputs=[spec.name for spec in model.inputs]
    )
    first = [one[:1] for one in stored]
    tensors = prepare(first, described, model.inputs, place=model.place)
    try:
        given = session.query(query_of(tensors, model.inputs, 0))
    except Exception as error:  # of a runtime, which meets the model's own limits
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{model.place} does not answer to the first example: {reason}") from None
    found = []
    sized = [
        replace(spec, shape=tuple(output.shape)) if output.ndim == len(spec.shape) else spec
        for output, spec in zip(given, model.outputs, strict=True)
    ]
    for output, spec in zip(given, sized, strict=True):
        place = f"{model.place}: the outputs {spec.name}"
        row = as_network(output, spec, place=place, at=0, only_finite=only_finite)
        real = to_reals(row, spec).astype(np.float64).reshape(spec.shape)
        # The base's are refused with all of its references, if need be.
        found.append(np.nan_to_num(real, posinf=0.0, neginf=0.0))
    return replace(model, outputs=tuple(sized)), found


def _paired(
    model: ExternalModel, base: ExternalModel, what: str, distance: Distance | None = None
) -> list[int]:
    """For each of the base's ends the number of the model's that belongs to it."""
    mine: tuple[TensorSpec, ...] = getattr(model, what)
    theirs: tuple[TensorSpec, ...] = getattr(base, what)
    if model is base:
        return list(range(len(mine)))
    if len(mine) != len(theirs):
        raise InputError(
            f"{model.place} has {len(mine)} {what}, {base.place} {len(theirs)}: bundle files of "
            "one network, or make a bundle of each"
        )
    names = [spec.name for spec in mine]
    if all(spec.name in names for spec in theirs) and len(set(names)) == len(names):
        order = [names.index(spec.name) for spec in theirs]
        if all(_moves(mine[i], t) for i, t in zip(order, theirs, strict=True)):
            return order
    order = []
    free = set(range(len(mine)))
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, spec in enumerate(theirs):
        groups.setdefault(tuple(sorted(spec.shape)), []).append(i)
    chosen: dict[int, int] = {}
    for alike in groups.values():
        fitting = [i for i in sorted(free) if all(_moves(mine[i], theirs[t]) for t in alike)]
        if len(fitting) < len(alike):
            shown = [list(theirs[t].shape) for t in alike]
            raise InputError(
                f"{model.place} has no {what} like {shown} of {base.place}: bundle files of one "
                "network, or make a bundle of each"
            )
        best: Sequence[int] = fitting[: len(alike)]
        if distance is not None and 1 < len(alike) <= MOST_ALIKE:
            best = min(
                itertools.permutations(fitting, len(alike)),
                key=lambda pick: sum(
                    min(distance(model, i, t, move) for move in _moves(mine[i], theirs[t]))
                    for i, t in zip(pick, alike, strict=True)
                ),
            )
        chosen |= dict(zip(alike, best, strict=True))
        free -= set(best)
    return [chosen[i] for i in range(len(theirs))]


def _moves(spec: TensorSpec, other: TensorSpec) -> list[Move]:
    """How the axes of an end may have to move so that it becomes another; none: it cannot."""
    shape, wanted = spec.shape, other.shape
    found: list[Move] = [None] if shape == wanted else []
    if len(shape) == len(wanted) and len(shape) in BY_RANK and shape[:1] == (1,):
        found += [(1, -1)] if (1, *shape[2:], shape[1]) == wanted else []
        found += [(-1, 1)] if (1, shape[-1], *shape[1:-1]) == wanted else []
    return found


def _with_layouts(
    read: Sequence[ExternalModel],
    orders: Sequence[Sequence[int]],
    base: ExternalModel,
    what: str,
    distance: Distance | None = None,
) -> list[ExternalModel]:
    """A layout for an end in every file, if its axes come in two orders; else they stay plain."""
    ends = [
        [getattr(model, what)[i] for i in order] for model, order in zip(read, orders, strict=True)
    ]
    for number, spec in enumerate(getattr(base, what)):
        moves: list[Move] = []
        for model, order, column in zip(read, orders, ends, strict=True):
            possible = _moves(column[number], spec)
            if model is base or distance is None or len(possible) == 1:
                moves.append(possible[0])  # the shape as it is, where there are several
            else:
                told = [distance(model, order[number], number, move) for move in possible]
                moves.append(possible[told.index(min(told))])
        # Those that differ have their channels elsewhere: where, the first of them says.
        move = next((move for move in moves if move is not None), None)
        if move is None or spec.layout != "plain":
            continue
        if len(spec.shape) == 3 and base.runtime == "ort":
            move = (-1, 1)  # two axes that change places do not say; ONNX has channels first
        first, last = BY_RANK[len(spec.shape)]
        of_base, of_others = (last, first) if move == (1, -1) else (first, last)
        for column, moved in zip(ends, moves, strict=True):
            layout = of_base if moved is None else of_others
            column[number] = replace(column[number], layout=layout)
    changed: list[Mapping[str, Any]] = [{what: tuple(column)} for column in ends]
    return [replace(model, **change) for model, change in zip(read, changed, strict=True)]
