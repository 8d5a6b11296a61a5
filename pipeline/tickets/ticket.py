"""What finding a ticket gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeticket.models.network import Network
from edgeticket.pipeline.prune.mask import Mask


@dataclass(frozen=True, eq=False)
class Ticket:
    """A mask, the weights to start from, and what its finding was like (JSON values).

    ``start`` is not masked yet: what the mask zeroes has its value there. Where whole blocks
    were removed, ``start`` is what is left and the mask is empty.
    """

    mask: Mask
    start: Network
    log: Mapping[str, Any] = field(default_factory=dict)


def facts_of(mask: Mask) -> dict[str, Any]:
    """What every log says of a mask of single weights.

    ``last_weight_layers`` are those with one weight left, which `prunable.spare_last_weights` may
    have saved: hardly anything passes them.
    """
    return {
        "sparsity": 1 - mask.density,
        "kept": mask.densities,
        "last_weight_layers": [
            name.removesuffix(".weight")
            for name, kept in mask.tensors.items()
            if kept.numel() > 1 and int(kept.sum()) == 1
        ],
    }
