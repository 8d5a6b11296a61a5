"""What can be done to pictures on their way to samples, by the names that manifests have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeticket.device_runner.letterbox import letterbox
from edgeticket.device_runner.pictures import Pictures, center_crop, grey, resize

STEPS: dict[str, Callable[[Pictures, Mapping[str, Any]], Pictures]] = {
    "grey": grey,
    "resize": resize,
    "center_crop": center_crop,
    "letterbox": letterbox,
}
