"""What finding a ticket gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.network import Network
from pipeline.mask import Mask


@dataclass(frozen=True, eq=False)
class Ticket:
    """A mask, the weights to start from, and what its finding was like (JSON values).

    ``start`` is not masked yet: what the mask zeroes has its value there. Where whole blocks
    were removed, ``start`` is what is left and the mask is empty.
    """

    mask: Mask
    start: Network
    log: Mapping[str, Any] = field(default_factory=dict)
