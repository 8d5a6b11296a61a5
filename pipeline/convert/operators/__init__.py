"""Every operator: how its ONNX nodes are read, and how it is written to each file.

A family is a module with two dictionaries; a new one is a module and a line in each of these.
"""

from __future__ import annotations

from edgeticket.pipeline.convert.operators import (
    attention,
    axes,
    channels,
    crossing,
    elementwise,
    layers,
    pools,
    rounding,
    shapes,
)
from edgeticket.pipeline.convert.operators.kind import Kind, Substitution, plain
from edgeticket.pipeline.convert.operators.reading import Draft, Reader, read_array, read_other

__all__ = ["KINDS", "READERS", "Draft", "Kind", "Substitution", "plain", "read_array", "read_other"]

READERS: dict[str, Reader] = {  # by ONNX operator
    **rounding.READERS,
    **layers.READERS,
    **pools.READERS,
    **elementwise.READERS,
    **shapes.READERS,
    **channels.READERS,
    **axes.READERS,
    **attention.READERS,
}

KINDS: dict[str, Kind] = {  # by `Operator.kind`
    **layers.KINDS,
    **pools.KINDS,
    **elementwise.KINDS,
    **shapes.KINDS,
    **channels.KINDS,
    **axes.KINDS,
    **attention.KINDS,
    **crossing.KINDS,
}
