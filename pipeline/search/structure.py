"""What is left of a network: how many channels of each group, and which blocks are bypassed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from pydantic import Field, ValidationError

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.plain_text import clean_line
from edgeticket.device_runner.regular import read_regular_text
from edgeticket.pipeline.recipe.config import Config

QUANTUM = 8  # channels that kernels of both runtimes compute together, at least


@dataclass(frozen=True)
class Structure:
    """Groups that are not named keep all of their channels.

    keep: name of a group of channels -> how many stay, from the first.
    bypass: names of blocks that are gone; see `models.removable_blocks`.
    """

    keep: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    bypass: frozenset[str] = frozenset()


class StructureFile(Config):
    """A structure as users write it, in JSON."""

    keep: dict[str, int] = Field(
        default={}, description="Group of channels -> how many of them stay; others keep all."
    )
    bypass: tuple[str, ...] = Field(default=(), description="Residual blocks that are bypassed.")


def uniform(widths: Mapping[str, int], share: float, *, quantum: int = QUANTUM) -> Structure:
    """The same share of every group, in steps of ``quantum`` and at least one of them.

    Args:
        widths: of each group.
        share: 0..1, of its channels.
        quantum: channels come in multiples of it.

    Raises:
        InputError: a share outside of 0 to 1.
    """
    if not 0 < share <= 1:
        raise InputError(f"a share of {share:g} channels: it is above 0 and up to 1")
    return Structure(
        {name: rounded(share * width, width, quantum) for name, width in widths.items()}
    )


def rounded(wanted: float, width: int, quantum: int) -> int:
    """The multiple of ``quantum`` that is nearest, at least one of them, ``width`` at most."""
    return min(width, max(quantum, quantum * round(wanted / quantum)))


def drawn_structure(widths: Mapping[str, int], *, seed: int, quantum: int = QUANTUM) -> Structure:
    """A random structure: a level for the network, and around it a share for each group."""
    generator = np.random.default_rng(seed)
    level = generator.uniform(0.25, 1)
    keep = {}
    for name, width in widths.items():
        share = min(1.0, max(0.1, level + generator.normal(0, 0.2)))
        keep[name] = rounded(share * width, width, quantum)
    return Structure(keep)


def read_structure(path: Path) -> Structure:
    """A file of `StructureFile`, or what `edgeticket predict --json` wrote.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        document = json.loads(read_regular_text(path))
        if isinstance(document, dict) and "structure" in document:
            document = document["structure"]
        given = StructureFile.model_validate_json(json.dumps(document))
    except (ValueError, RecursionError, ValidationError) as error:
        reason = clean_line(str(error).replace("\n", " "))
        raise InputError(
            f'{path} is no structure ({reason}): {{"keep": {{"GROUP": CHANNELS}}, "bypass": []}}'
        ) from None
    return Structure(given.keep, frozenset(given.bypass))


def check_structure(structure: Structure, widths: Mapping[str, int]) -> None:
    """Hold a structure against the groups that a network has.

    Raises:
        InputError: a group that there is not, or more channels than it has.
    """
    for name, kept in structure.keep.items():
        if name not in widths:
            raise InputError(f"{name} is no group of channels (there are: {_few(widths)})")
        if not 0 < kept <= widths[name]:
            raise InputError(f"{name} has {widths[name]} channels, not {kept}: keep 1 to that")


def _few(names: Collection[str]) -> str:
    shown = list(names)[:8]
    return ", ".join(shown) + ", …" * (len(names) > len(shown)) if shown else "none"
