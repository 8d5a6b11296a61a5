"""What a type checker makes of the API; `make lint` has mypy read this, nothing runs it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import edgeticket
from edgeticket.device_runner.manifest import Manifest
from edgeticket.device_runner.report import Report
from edgeticket.pipeline.compare import Gate
from edgeticket.pipeline.convert import Converted
from edgeticket.pipeline.devices.fleet_run import Outcome
from edgeticket.pipeline.diff import Diff
from edgeticket.pipeline.inspect.file import FileInspection
from edgeticket.pipeline.inspect.network import Inspection
from edgeticket.pipeline.recipe import Recipe
from edgeticket.pipeline.run.sensitivity import Sensitivity
from edgeticket.pipeline.run.summary import Summary
from edgeticket.pipeline.tickets.file import TicketFacts

assert_type(edgeticket.run("demo", out="runs"), Summary)
assert_type(edgeticket.bench("runs/demo", on=["local"]), list[Outcome])
assert_type(edgeticket.compare("a.json", "b.json", max_drop_points=0.5), Gate)
assert_type(edgeticket.diff("runs/demo", max_lsb=2), Diff)
assert_type(edgeticket.sensitivity("demo"), Sensitivity)
assert_type(edgeticket.inspect("resnet20"), Inspection | FileInspection)
assert_type(edgeticket.convert(b""), dict[str, Converted])
assert_type(edgeticket.quantize(b"", [[1.0]]), edgeticket.Quantized)
assert_type(edgeticket.read_recipe("demo"), Recipe)
assert_type(edgeticket.bundle("model.onnx", random=10), Manifest)
assert_type(edgeticket.fetch("cifar10"), Path)
assert_type(edgeticket.init("mobilenet_v2", "photos"), Path)
assert_type(edgeticket.experiment("lenet300_fashion"), int)
assert_type(edgeticket.check_device("local"), bool)
assert_type(edgeticket.pack("network", out="x.ticket"), TicketFacts)
edgeticket.run("demo", "runs")  # type: ignore[call-arg]
edgeticket.run("demo", out=3)  # type: ignore[arg-type]
nonsense = edgeticket.nonsense  # type: ignore[attr-defined]
errors: list[type[edgeticket.InputError]] = [
    edgeticket.RecipeError,
    edgeticket.ConversionError,
    edgeticket.DeviceError,
]
assert_type(edgeticket.read_report(Path("report.json")), Report)
