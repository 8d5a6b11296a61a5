"""How metrics are written for people."""

from __future__ import annotations

from edgeticket.device_runner.task import Metric
from edgeticket.device_runner.task.kind import LOWER
from edgeticket.device_runner.unavailable import Unavailable

NAMES = {
    "top1": "top-1",
    "wer": "WER",
    "cer": "CER",
    "miou": "mIoU",
    "map": "mAP",
    "map50": "mAP50",
}


def metric_name(metric: Metric) -> str:
    """What people call it."""
    return NAMES.get(metric.name, metric.name.removesuffix("_db").removesuffix("_px"))


def metric_text(metric: Metric, value: float | Unavailable) -> str:
    """A value with its unit."""
    if isinstance(value, Unavailable):
        return f"unavailable ({value.reason})"
    if metric.unit == "share":
        return f"{value:.2%}"
    unit = {"dB": " dB", "pixels": " px"}.get(metric.unit, "")
    return f"{value:.2f}{unit}" if unit else f"{value:.4g}"


def lost(metric: Metric, before: float, after: float) -> float:
    """How much worse ``after`` is, whichever direction is better; below 0 it is better."""
    return after - before if metric.direction == LOWER else before - after
