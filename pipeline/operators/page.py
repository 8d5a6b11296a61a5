"""docs/operators.md, from the registries of operators:

python -m edgeticket.pipeline.operators.page > docs/operators.md
"""

from __future__ import annotations

from edgeticket.pipeline.graph.graph import OPSET
from edgeticket.pipeline.operators import ATEN, KINDS, ONNX, Kind

HEAD = f"""# Operators

What a network is made of once it is captured (`torch.export`), or read from an ONNX file (operator
set {OPSET}, batch of one, fixed shapes), and how both runtimes have it. This page is made by
`python -m edgeticket.pipeline.operators.page`; a test fails when it is stale.

What the lists at the end do not name is refused in one sentence that names the place and the
operator. In ONNX files, what works on constants alone is computed, whatever the operator.

How int8 files have it:

- **integer**: an integer kernel; the output has a scale of its own.
- **codes**: numbers only move, so codes pass unchanged and all tensors share one scale.
- **float32**: computed in float32 between codes.
- **as …**: replaced by something that both runtimes round alike.

| operator | ONNX Runtime fp32 | LiteRT fp32 | int8, both | conditions |
|---|---|---|---|---|
"""


def operators_page() -> str:
    """The page, ending in a line break."""
    rows = [_row(name, kind) for name, kind in sorted(KINDS.items())]
    onnx, aten = (", ".join(f"`{name}`" for name in sorted(names)) for names in (ONNX, ATEN))
    return (
        f"{HEAD}{''.join(rows)}\n"
        f"Read from ONNX files: {onnx}.\n\nRead from PyTorch, by torch.export: {aten}.\n"
    )


def _row(name: str, kind: Kind) -> str:
    onnx = "as it is" if kind.onnx.__name__ == "plain" else summary_of(kind.onnx)
    tflite = summary_of(kind.tflite) if kind.tflite else "none"
    columns = [f"`{name}`", onnx, tflite, int8_of(kind), kind.conditions]
    return f"| {' | '.join(column.replace('|', '/') for column in columns)} |\n"


def int8_of(kind: Kind) -> str:
    if kind.rounded is not None:
        return f"as {summary_of(kind.rounded)}"
    if kind.tflite is None:
        return "folded away"
    if kind.crosses:
        return "between codes and float32"
    if kind.keeps_codes:
        return "codes"
    return "float32" if kind.real else "integer"


def summary_of(function: object) -> str:
    """The first line of a docstring, without its full stop."""
    text = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    assert text, f"{function} needs a docstring: docs/operators.md shows it"
    return text


if __name__ == "__main__":
    print(operators_page(), end="")
