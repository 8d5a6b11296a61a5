"""A device made ready, asked whether it can be trusted, and left as it was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from edgeticket.pipeline.devices.connection import Patience


def set_up_device(
    target: str,
    *,
    offline: bool = False,
    patience: Patience | None = None,
    console: Console | None = None,
) -> None:
    """Make an environment on a device: the runner, numpy, and the runtimes that exist for it.

    Args:
        target: ``ssh://user@host[:port][/folder]``, ``emulated:cortex-a72`` or ``local``.
        offline: this machine fetches the packages and brings them.
        patience: how long to wait for what; None: as the command does.
        console: where progress and what it has and lacks go; None: nowhere.

    Raises:
        InputError: it cannot be reached, or no environment can be made there.
    """
    from rich.console import Console

    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.visit import set_up_device as visit

    shown = console or Console(quiet=True)
    asyncio.run(visit(target, offline=offline, patience=patience or Patience(), console=shown))


def check_device(
    target: str, *, patience: Patience | None = None, console: Console | None = None
) -> bool:
    """Say whether measurements on a device can be trusted now.

    Args:
        target, patience: as for `set_up_device`.
        console: where one screen about it goes, with what to change; None: nowhere.

    Raises:
        InputError: it cannot be reached, or is not set up.
    """
    from rich.console import Console

    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.visit import check_device as visit

    shown = console or Console(quiet=True)
    return asyncio.run(visit(target, patience=patience or Patience(), console=shown))


def clean_device(
    target: str, *, patience: Patience | None = None, console: Console | None = None
) -> None:
    """Remove everything that edgeticket left on a device, and nothing else.

    Args:
        target, patience, console: as for `set_up_device`.

    Raises:
        InputError: it cannot be reached, or somebody measures there.
    """
    from rich.console import Console

    from edgeticket.pipeline.devices.connection import Patience
    from edgeticket.pipeline.devices.visit import clean_device as visit

    shown = console or Console(quiet=True)
    asyncio.run(visit(target, patience=patience or Patience(), console=shown))
