"""What edgeticket does, as functions; `import edgeticket` offers them, the commands call them.

Each takes its subject first and everything else by keyword, prints nothing unless it is given a
place to show its progress, and raises `InputError`, one sentence with the place, the value and the
way out, for whatever the caller can mend.
"""

from edgeticket.api.causes import why
from edgeticket.api.files import Quantized, convert, quantize
from edgeticket.api.measuring import bench, compare, compare_with_history, diff, history, report
from edgeticket.api.recipes import inspect, read_recipe, run, sensitivity
from edgeticket.api.search import predict
from edgeticket.device_runner.report import read_report

__all__ = [
    "Quantized",
    "bench",
    "compare",
    "compare_with_history",
    "convert",
    "diff",
    "history",
    "inspect",
    "predict",
    "quantize",
    "read_recipe",
    "read_report",
    "report",
    "run",
    "sensitivity",
    "why",
]
