"""A recurrent layer as steps one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema

from edgeticket.pipeline.graph.draft import BatchSize, Draft
from edgeticket.pipeline.graph.graph import Array
from edgeticket.pipeline.operators.kind import Kind, Reader
from edgeticket.pipeline.operators.recurrent_cells import Cell, State, Steps, Weights
from edgeticket.pipeline.operators.slices import cut

B = schema.BuiltinOperator


@dataclass(frozen=True)
class Layer:
    """All steps of one layer, in its directions."""

    draft: Draft
    cell: Cell
    time: int  # axis of its input, [N, T, I] or [T, N, I]

    def run(
        self,
        source: str,
        directions: Sequence[Weights],
        initial: Sequence[Sequence[str | Array | None]],
        *,
        backwards: Sequence[bool],
        label: str,
    ) -> tuple[list[list[str]], list[State]]:
        """For each step the h of each direction, and for each direction its last state."""
        draft, length = self.draft, step_count(self.draft, source, self.time)
        outputs: list[list[str]] = [[] for _ in range(length)]
        last: list[State] = []
        for weights, given, back in zip(directions, initial, backwards, strict=True):
            place = f"{label}reverse_" if back and len(directions) > 1 else label
            rows = self._rows(source, weights, place)
            state: State | None = None
            for t in reversed(range(length)) if back else range(length):
                steps = Steps(draft, weights, f"{place}t{t}_")
                x = self._row(rows, t, steps)
                if state is None:
                    state = started(steps, x, given)
                state = self.cell(steps, x, state)
                outputs[t].append(state[0])
            assert state is not None
            last.append(state)
        return outputs, last

    def _rows(self, source: str, weights: Weights, label: str) -> str:
        bias = [weights.x_bias] if weights.x_bias else []
        return self.draft.add("Gemm", source, weights.x, *bias, suffix=f"{label}input", transB=1)

    def _row(self, rows: str, t: int, steps: Steps) -> str:
        size = self.draft.shape(rows)[2]
        row = cut(self.draft, rows, self.time, t, t + 1, suffix=f"{steps.label}slice")
        return steps.add("Reshape", row, suffix="x", shape=[BatchSize(1), size], free=[-1, size])


def step_count(draft: Draft, source: str, time: int) -> int:
    """The size of the axis of time.

    Raises:
        InputError: examples lie along it, so that they would depend on each other.
    """
    length = draft.shape(source)[time]
    if isinstance(length, BatchSize):
        raise draft.refuse(
            "takes the examples for steps of time: give it [examples, steps, features] and "
            "batch_first=True"
        )
    return length


def started(steps: Steps, x: str, given: Sequence[str | Array | None]) -> State | None:
    """The state before the first step, as far as it is not zero."""
    if all(part is None for part in given):
        return None
    parts = []
    for part in given:
        if part is None:
            parts.append(steps.zero(x))
        else:
            parts.append(part if isinstance(part, str) else steps.flowing(x, part))
    return tuple(parts)


def initial_state(draft: Draft, name: str, index: int, axis: int = 0) -> str | Array | None:
    """What is at ``index`` of stored or flowing initial states: [N, H], a row, or None for zeros.

    Args:
        name: "" for none, [N, H], or three axes, of which ``axis`` counts layers and directions.
    """
    if not name:
        return None
    shape = draft.shape(name)
    if draft.is_constant(name):
        numbers = draft.array(name)
        rows = numbers if len(shape) == 2 else numbers.take(index, axis)
        if len(rows) != 1:
            raise draft.refuse(f"starts {len(rows)} examples differently: give one state for all")
        return rows[0] if rows.any() else None
    if len(shape) == 2:
        return name
    part = cut(draft, name, axis, index, index + 1, suffix=f"initial{index}")
    return _reshaped(draft, part, (None, shape[-1]), f"initial{index}_state")


def _reshaped(draft: Draft, source: str, form: Sequence[int | None], suffix: str) -> str:
    """Reshape; None is the axis of the batch."""
    shape = [BatchSize(1) if n is None else n for n in form]
    free = [-1 if n is None else n for n in form]
    if draft.shape(source) == tuple(shape):
        return source
    return draft.add("Reshape", source, suffix=suffix, shape=shape, free=free)


def _joined(draft: Draft, parts: Sequence[str], axis: int, suffix: str) -> str:
    if len(parts) == 1:
        return parts[0]
    return draft.add("Concat", *parts, suffix=suffix, axis=axis)


def sequence_of(draft: Draft, outputs: Sequence[Sequence[str]], time: int, suffix: str = "") -> str:
    """h of all steps -> [N, T, directions · H], or time first."""
    wide = []
    for t, parts in enumerate(outputs):
        both = _joined(draft, parts, 1, f"{suffix}t{t}_both")
        size = draft.shape(both)[1]
        form = [1, None, size] if time == 0 else [None, 1, size]
        wide.append(_reshaped(draft, both, form, f"{suffix}t{t}_output"))
    return _joined(draft, wide, time, suffix.rstrip("_"))


def states_of(draft: Draft, parts: Sequence[str], suffix: str, axis: int = 0) -> str:
    """[N, H] of all layers and directions -> [layers · directions, N, H], or those second."""
    wide = []
    for i, part in enumerate(parts):
        size = draft.shape(part)[1]
        form = [1, None, size] if axis == 0 else [None, 1, size]
        wide.append(_reshaped(draft, part, form, f"{suffix}{i}"))
    return _joined(draft, wide, axis, suffix)


ATEN: dict[str, Reader] = {}


KINDS: dict[str, Kind] = {}
