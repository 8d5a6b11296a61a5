"""When something was measured, and by which versions."""

from __future__ import annotations

import datetime
import platform

import numpy as np

from edgeticket.device_runner import __version__


def utc_now() -> str:
    """The time as reports have it: ISO 8601, in UTC, whole seconds."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def versions() -> dict[str, str]:
    """What measures, beside the runtime, which reports name by itself."""
    return {
        "device_runner": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
