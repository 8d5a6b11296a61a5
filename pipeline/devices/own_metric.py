"""A function of the user's, run here over the outputs that devices brought back.

Only a flag names it: neither a bundle, nor a report, nor a device can.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.bundle import Bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.fidelity import to_reals
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.npz import parse_npz
from edgeticket.device_runner.recordings import Transcripts
from edgeticket.device_runner.terminal import table
from edgeticket.models.imported import find_function, look_in, user_folders_first

Array = npt.NDArray[Any]
Metric = Callable[[list[Array], Mapping[str, Any]], Any]

FILE = "own-metric.csv"
HEADINGS = ("device", "artifact", "metric", "value")


@dataclass(frozen=True)
class Value:
    """What the function said of one artifact on one device."""

    device: str
    artifact: str
    metric: str
    value: float


def load_metric(name: str) -> Metric:
    """``package.module:function``, of the current folder or installed -> the function.

    Raises:
        InputError: there is none.
    """
    look_in([Path.cwd()])
    try:
        return find_function(name)
    except ValueError as error:
        raise InputError(f"--metric {error}") from None


def judge_outputs(
    metric: Metric, name: str, bundle: Bundle, files: Sequence[tuple[str, str, Path]]
) -> list[Value]:
    """Run the function over the outputs of each artifact on each device.

    It is called with a list of the outputs, [N, ...] each, real numbers in the network's own order
    of axes, and with the targets of these N samples as named arrays: those of the task, `label` of
    classes, `texts` of transcripts. It returns a number, or several by name.

    Args:
        metric: the function.
        name: what the user calls it.
        bundle: that was measured.
        files: device, artifact, and the outputs that the device packed.

    Raises:
        InputError: the function raises, or returns something else; a device's file is damaged.
    """
    values = []
    for device, artifact, file in files:
        told = judge_file(metric, name, bundle, artifact, file)
        values += [Value(device, artifact, key, value) for key, value in told.items()]
    return values


def judge_file(
    metric: Metric, name: str, bundle: Bundle, artifact: str, file: Path
) -> dict[str, float]:
    """Run the function over the packed outputs of one artifact: values by name; as
    `judge_outputs`."""
    entry = next(one for one in bundle.manifest.artifacts if one.id == artifact)
    outputs = _outputs(file, entry)
    return _call(metric, name, outputs, _targets(bundle, outputs))


def tell_values(values: Sequence[Value]) -> str:
    """A table for people."""
    rows = [(v.artifact, v.device, v.metric, f"{v.value:.6g}") for v in values]
    return table([("artifact", "device", "own metric", "value"), *rows])


def write_values(values: Sequence[Value], folder: Path) -> Path:
    """A CSV file of all of them, which takes the place of an older one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADINGS)
    writer.writerows((v.device, v.artifact, v.metric, repr(v.value)) for v in values)
    write_atomic(folder / FILE, text.getvalue().encode())
    return folder / FILE


def _outputs(file: Path, artifact: Artifact) -> list[Array]:
    """Of all samples, real numbers."""
    arrays = parse_npz(file.read_bytes(), place=str(file))
    names = [f"output_{i}" for i in range(len(artifact.outputs))]
    if set(arrays) != set(names):
        raise InputError(f"{file} holds {', '.join(arrays) or 'nothing'}, not {', '.join(names)}")
    return [
        arrays[name] if spec.scale is None else to_reals(arrays[name], spec).astype(np.float32)
        for name, spec in zip(names, artifact.outputs, strict=True)
    ]


def _targets(bundle: Bundle, outputs: Sequence[Array]) -> dict[str, Any]:
    if bundle.manifest.chunks is not None:
        _, said = bundle.examples()
        return {"texts": said.texts} if isinstance(said, Transcripts) else {}
    _, targets = bundle.examples(len(outputs[0]))
    if targets is None or isinstance(targets, Transcripts):
        return {}
    return {"label": targets} if isinstance(targets, np.ndarray) else dict(targets)


def _call(
    metric: Metric, name: str, outputs: list[Array], targets: dict[str, Any]
) -> dict[str, float]:
    try:
        with user_folders_first():
            told = metric(outputs, targets)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--metric {name} raised {type(error).__name__}: {reason}") from error
    named = told if isinstance(told, Mapping) else {name.partition(":")[2]: told}
    numbers = {str(key): _number(value) for key, value in named.items()}
    finite = {key: value for key, value in numbers.items() if value is not None}
    if len(finite) < len(numbers) or not numbers:
        raise InputError(
            f"--metric {name} returned {str(told)[:80]!r}: it should return a finite number, or "
            "several by name"
        )
    return finite


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
