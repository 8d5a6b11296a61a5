"""Steps in float32 between codes, written so that all runtimes come to the same bits.

A sum in float32 depends on the order of its terms, and every runtime has one of its own. A sum of
whole numbers does not, as long as none passes 2^24. So layer norms, softmax, and products of two
rounded values are written as sums of whole numbers; what is left is done number by number, where
IEEE 754 leaves no choice. Square roots and exponentials differ in their last bits from runtime to
runtime, and are taken to where that makes no difference.

A layer norm takes mean and variance of its row in steps of a fraction of the row's largest number,
and normalises the row itself. Softmax rounds its logits to 1/512 and its powers to whole numbers;
the rest of attention is whole numbers up to the one division. That is nearer to the functions than
the codes behind them can tell (tests/convert/test_exact_sums.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, reduce

import numpy as np

from edgeticket.pipeline.convert.exact_draft import ExactDraft, largest_of
from edgeticket.pipeline.graph.graph import Array, Graph, Operator

EXACT = 2**24  # whole numbers up to this are float32
# The largest sum is a quarter of what the largest codes could make: all would have to be that
# large, and of one sign.
PART_OF_LARGEST = 4

# A row is rounded to as many steps as can be summed; longer ones would have too few.
LONGEST_ROW = 4096
SMALLEST = 1e-12  # for the largest number of a row, which divides
COARSE_ROOT = 1.5 * 2**15  # added and taken away, it rounds to its last bit: 1/256

LOGIT = 1 / 512
ROUNDING = 1.5 * 2**14  # added to logits, it rounds them to its last bit: LOGIT
# What the largest power of a softmax is: more than this makes it no better, and few for each token
# lose what many small ones are together.
LARGEST_POWER, POWERS_PER_TOKEN = 2.0**12, 4
MOST_PARTS = 16  # that tokens are summed in, one after the other
CLEAR = 8e-7  # relative; exponentials of runtimes are off by 5e-7

# ONNX Runtime makes a number behind a product a part of it, and multiplies every so many by it.
LARGEST_BLOCK = 128


def make_exact(graph: Graph) -> Graph:
    """Write anew what depends on the order of sums.

    Args:
        graph: with conversions inserted (`qdq_insertion.insert_qdq`); one in float32 stays.
    """
    if not graph.is_quantized():
        return graph
    draft = ExactDraft(graph)
    for op in graph.operators:
        rule = RULES.get(op.kind)
        if op.name not in draft.left_out and not (rule and rule(draft, op)):
            draft.operators.append(op)
    return draft.graph()


def _layer_norm(draft: ExactDraft, op: Operator) -> bool:
    """(x − mean) / √(variance + ε) · scale + bias; the row itself is not rounded."""
    source = op.inputs[0]
    axis = len(draft.values[source].shape) - 1
    size = draft.values[source].shape[axis]
    found = draft.whole_of(op, source)
    if found is not None and size * found[2] ** 2 <= PART_OF_LARGEST * EXACT:
        steps = whole = found[0]
        per_step: str | float = 1 / found[1]
    elif size <= LONGEST_ROW:
        per_step = _steps_of_row(draft, op, source, size)
        steps = draft.add(op, "Mul", source, per_step)
        whole = draft.add(op, "Round", steps)
    else:
        return False
    total = draft.sum(op, whole)
    mean = draft.add(op, "Mul", total, 1 / size)
    squares = draft.sum(op, draft.add(op, "Mul", whole, whole))
    deviations = draft.add(op, "Sub", squares, draft.add(op, "Mul", total, mean))
    deviations = draft.add(op, "Max", deviations, 0.0)  # of equal numbers it can be less
    epsilon = op.attributes["epsilon"] * size
    if isinstance(per_step, float):
        least: str | float = epsilon * per_step**2
    else:
        least = draft.add(op, "Mul", draft.add(op, "Mul", per_step, per_step), epsilon)
    factor = _one_by_root(draft, op, draft.add(op, "Add", deviations, least))
    normal = draft.add(op, "Mul", draft.add(op, "Sub", steps, mean), factor)
    weight = draft.constants[op.inputs[1]].data * np.float32(math.sqrt(size))
    bias = draft.constants[op.inputs[2]].data if len(op.inputs) > 2 else None
    rounded = draft.in_steps(op.output)
    if rounded is not None:
        weight, bias = weight / rounded.scale, None if bias is None else bias / rounded.scale
    if bias is not None:
        normal, weight = draft.add(op, "Mul", normal, weight), bias
    kind = "Mul" if bias is None else "Add"
    if rounded is None:
        draft.finish(op, kind, normal, weight)
    else:
        draft.round(op, draft.add(op, kind, normal, weight), rounded)
    return True


def _product(draft: ExactDraft, op: Operator) -> bool:
    """Σ left · right of code − zero point, then times both scales and what multiplies them."""
    left, right = op.inputs
    if left in draft.powers:
        return _weighted(draft, op)
    rows, columns = draft.whole_of(op, left), _columns(draft, op, right)
    if rows is None or columns is None:
        return False
    both = rows[0], columns[0]
    factor: float | Array = rows[1] * columns[1]
    largest = rows[2] * columns[2]
    size = draft.values[left].shape[-1]
    if size > LARGEST_BLOCK or size * largest > PART_OF_LARGEST * EXACT:
        return False
    product = draft.add(op, "MatMul", *both)
    behind = draft.only_reader(op.output)
    if behind is not None and (more := draft.number_times(behind, op.output)) is not None:
        draft.left_out.add(behind.name)
        factor, op = factor * more, behind
    draft.scale(op, product, factor)
    return True


def _columns(draft: ExactDraft, op: Operator, name: str) -> tuple[str, float | Array, float] | None:
    """As `ExactDraft.whole_of`; columns of one number are columns of 1 with a scale of their own.

    Linear attention puts a column of 1 beside its values, whose product is the sum of its keys.
    """
    pad = draft.maker(name)
    if pad is None or pad.kind != "PadNumber" or _sides(pad)[:-1].any():
        return draft.whole_of(op, name)
    found = draft.whole_of(op, pad.inputs[0])
    if found is None:
        return None
    whole, scale, most = found
    before, after = _sides(pad)[-1]
    padded = draft.add(op, "PadNumber", whole, **{**pad.attributes, "value": 1.0})
    size = draft.values[padded].shape[-1]
    scales = np.full(size, pad.attributes["value"])
    scales[before : size - after] = scale
    return padded, scales, most


def _sides(pad: Operator) -> Array:
    """How many numbers go before and behind each axis [axes, 2]."""
    return np.array([pad.attributes["before"], pad.attributes["after"]]).T


def _softmax(draft: ExactDraft, op: Operator) -> bool:
    """Its powers; what reads its shares divides by their sum, or they are divided here.

    Shares that become codes are divided here. Left as they are, ONNX Runtime makes an integer
    softmax of them, whose powers do not fit into 32 bits where the scale is much below 1/256.
    """
    if op.output in draft.given.outputs:
        return False
    readers = draft.readers.get(op.output, [])
    tokens = draft.values[op.inputs[0]].shape[-1]
    if readers and all(r.kind == "QuantizeLinear" for r in readers):
        parts = math.ceil(tokens * LARGEST_POWER / EXACT)
        if parts > MOST_PARTS:
            return False
        powers = _powers(draft, op, LARGEST_POWER)
        widest = math.ceil(tokens / parts)
        totals = [draft.sum(op, part) for _, _, part in _parts(draft, op, powers, widest)]
        total = reduce(lambda left, right: draft.add(op, "Add", left, right), totals)
        draft.scale(op, draft.add(op, "Div", powers, total), 1.0)
        return True
    weighted = [r for r in readers if r.kind == "MatMul" and r.inputs[0] == op.output]
    codes = [draft.code_of(r.inputs[1]) for r in weighted]
    if not weighted or len(weighted) < len(readers) or None in codes:
        return False
    highest = max(largest_of(draft.quantization(name)) for name in codes if name)
    parts = math.ceil(POWERS_PER_TOKEN * tokens**2 * highest / (PART_OF_LARGEST * EXACT))
    if parts > MOST_PARTS:
        return False
    widest = math.ceil(tokens / parts)
    limit = min(PART_OF_LARGEST * EXACT / (widest * highest), LARGEST_POWER)
    draft.powers[op.output] = _powers(draft, op, limit), widest
    return True


def _powers(draft: ExactDraft, op: Operator, limit: float) -> str:
    """Whole numbers in the ratios of a softmax's shares, the largest of a row nearly ``limit``."""
    source = op.inputs[0]
    axis = len(draft.values[source].shape) - 1
    logits = draft.add(op, "Add", source, ROUNDING)
    most = draft.add(op, "ReduceMax", logits, axes=[axis], keepdims=1)
    powers = draft.add(op, "Exp", draft.add(op, "Sub", logits, most))
    return draft.add(op, "Round", draft.add(op, "Mul", powers, largest_power(limit)))


def _parts(
    draft: ExactDraft, op: Operator, powers: str, widest: int
) -> Iterator[tuple[int, int, str]]:
    """(begin, end, powers) of so many tokens at most."""
    tokens = draft.values[powers].shape[-1]
    for begin in range(0, tokens, widest):
        end = min(begin + widest, tokens)
        yield begin, end, draft.slice(op, powers, -1, begin, end)


def _weighted(draft: ExactDraft, op: Operator) -> bool:
    """Σ power · value / Σ power, over parts of the tokens whose sums are exact."""
    powers, widest = draft.powers[op.inputs[0]]
    found = draft.whole_of(op, op.inputs[1])
    assert found is not None
    values, scale, _ = found
    products, totals = [], []
    for begin, end, part in _parts(draft, op, powers, widest):
        products.append(draft.add(op, "MatMul", part, draft.slice(op, values, -2, begin, end)))
        totals.append(draft.sum(op, part))
    product, total = (
        reduce(lambda left, right: draft.add(op, "Add", left, right), terms)
        for terms in (products, totals)
    )
    draft.scale(op, draft.add(op, "Div", product, total), scale)
    return True


def _steps_of_row(draft: ExactDraft, op: Operator, name: str, size: int) -> str:
    """How many steps 1 is, so that the largest number of a row is as many as can be summed."""
    axis = len(draft.values[name].shape) - 1
    most = draft.add(op, "ReduceMax", name, axes=[axis], keepdims=1)
    least = draft.add(op, "ReduceMin", name, axes=[axis], keepdims=1)
    largest = draft.add(op, "Max", most, draft.add(op, "Neg", least))
    largest = draft.add(op, "Max", largest, SMALLEST)
    return draft.add(op, "Div", float(math.isqrt(EXACT // size)), largest)


def _one_by_root(draft: ExactDraft, op: Operator, square: str) -> str:
    """1 / √square, to 2e-6 where that is 1 or more; behind the root of 0 is nothing.

    All runtimes agree on the root in steps of 1/256; one of Heron's from there is right.
    """
    root = draft.add(op, "Sqrt", square)
    coarse = draft.add(op, "Sub", draft.add(op, "Add", root, COARSE_ROOT), COARSE_ROOT)
    twice = draft.add(op, "Add", coarse, draft.add(op, "Div", square, coarse))
    return draft.add(op, "Div", 2.0, twice)


@cache
def largest_power(limit: float) -> float:
    """What the largest power of a softmax is made: a little less than ``limit``.

    No power is then so near to half way between two whole numbers that runtimes, whose
    exponentials differ in their last bits, could round it to different sides.
    """
    powers = np.exp(np.arange(math.ceil(math.log(2 * limit + 2) / LOGIT)) * -LOGIT)
    for part in range(2**12):
        largest = float(np.float32(limit * (1 - part / 2**14)))
        scaled = largest * powers
        if (np.abs(scaled % 1 - 0.5) > CLEAR * scaled).all():
            return largest
    raise AssertionError(f"no power up to {limit} is clear of ties")


RULES: dict[str, Callable[[ExactDraft, Operator], bool]] = {
    "LayerNormalization": _layer_norm,
    "MatMul": _product,
    "Softmax": _softmax,
}
"""Each says whether it wrote an operator anew."""
