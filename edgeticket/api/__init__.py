"""What edgeticket does, as functions; `import edgeticket` offers them, the commands call them.

Each takes its subject first and everything else by keyword, prints nothing unless it is given a
place to show its progress, and raises `InputError`, one sentence with the place, the value and the
way out, for whatever the caller can mend.
"""

from edgeticket.api.bundles import bundle
from edgeticket.api.causes import why
from edgeticket.api.data import fetch
from edgeticket.api.devices import check_device, clean_device, set_up_device
from edgeticket.api.experiments import experiment, results
from edgeticket.api.files import Quantized, convert, quantize, read_graph
from edgeticket.api.measuring import bench, compare, diff, history, layers, report
from edgeticket.api.recipes import init, inspect, read_recipe, run, sensitivity
from edgeticket.api.searching import predict, search
from edgeticket.api.signing import sign, verify
from edgeticket.api.tickets import pack, unpack
from edgeticket.device_runner.report import read_report

__all__ = [
    "Quantized",
    "bench",
    "bundle",
    "check_device",
    "clean_device",
    "compare",
    "convert",
    "diff",
    "experiment",
    "fetch",
    "history",
    "init",
    "inspect",
    "layers",
    "pack",
    "predict",
    "quantize",
    "read_graph",
    "read_recipe",
    "read_report",
    "report",
    "results",
    "run",
    "search",
    "sensitivity",
    "set_up_device",
    "sign",
    "unpack",
    "verify",
    "why",
]
