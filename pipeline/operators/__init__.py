"""The table of operators: everything that the program knows of one stands in one file.

A family is a module with three dictionaries: which kinds of operators there are (`Kind`), and how
nodes of ATen (`torch.export`) and of ONNX are read into them. A new operator is an entry in a
family; a new family is a module, and its name here. Nothing else in the program asks which operator
one is.
"""

from __future__ import annotations

from edgeticket.pipeline.operators import (
    axes,
    channels,
    crossing,
    derived,
    einsum,
    elementwise,
    functions,
    gathering,
    joining,
    layers,
    logic,
    lookups,
    maps,
    norms,
    padding,
    pools,
    products,
    recurrent,
    reductions,
    refused,
    rounding,
    slices,
)
from edgeticket.pipeline.operators.kind import (
    KEEPING,
    Kind,
    Reader,
    Role,
    Substitution,
    plain,
)

__all__ = [
    "ATEN",
    "KEEPING",
    "KINDS",
    "ONNX",
    "RANDOM",
    "REFUSED",
    "Kind",
    "Reader",
    "Role",
    "Substitution",
    "plain",
]

FAMILIES = (
    layers,
    pools,
    elementwise,
    functions,
    logic,
    lookups,
    norms,
    reductions,
    products,
    axes,
    slices,
    joining,
    padding,
    gathering,
    channels,
    maps,
    recurrent,
    derived,
    einsum,
)

KINDS: dict[str, Kind] = {  # by `Operator.kind`
    **{name: kind for family in FAMILIES for name, kind in family.KINDS.items()},
    **crossing.KINDS,
}
ATEN: dict[str, Reader] = {  # by the name of an ATen operator, whatever its overload
    **{name: reader for family in FAMILIES for name, reader in family.ATEN.items()},
    **rounding.ATEN,
}
REFUSED = refused.REFUSED  # by the name of an ATen operator: what to do instead
RANDOM = refused.RANDOM  # the same, even where nothing flows into it
ONNX: dict[str, Reader] = {  # by ONNX operator
    **{name: reader for family in FAMILIES for name, reader in family.ONNX.items()},
    **rounding.ONNX,
}
